"""
Agent frameworks that keep their memory in voltmem: a module each, that imports its framework and nobody else's.

Each has the same three parts: what the framework stores, as our messages and back; the class that the framework calls;
what an application calls besides. Agno calls one class in its first release and another since: there they are files.
"""
