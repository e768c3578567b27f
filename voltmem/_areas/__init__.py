"""The subjects: of each its verbs, its SQL and its values."""
