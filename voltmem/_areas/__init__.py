"""The areas of the storage. Each has its verbs, its SQL and its values."""
