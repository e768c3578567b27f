"""What an agent or an adapter holds of a conversation."""
