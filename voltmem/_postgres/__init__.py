"""What knows PostgreSQL and no conversation."""
