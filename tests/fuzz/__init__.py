"""Whatever is stored, and whatever is asked, only voltmem's own errors come out: random examples of both."""
