"""The memories: handles on one conversation, for agents and adapters."""
