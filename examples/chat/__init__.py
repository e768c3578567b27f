"""A chat application with a sidebar, in the browser: ``python -m examples.chat``."""
