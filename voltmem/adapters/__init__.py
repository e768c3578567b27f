"""
Adapters: agent frameworks that keep their memory in voltmem. Each module imports only its own framework.

Each adapter has three parts: the conversion between the framework's values and voltmem's messages, the class that the
framework calls, and what else an application calls. Agno 1 and later releases call different classes, so the Agno
adapter is a package with a file for each.
"""
