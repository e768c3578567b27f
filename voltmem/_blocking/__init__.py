"""Support for code that blocks: an event loop in a thread, and classes that wait for asynchronous ones."""
