"""Export and import of a user's data."""
