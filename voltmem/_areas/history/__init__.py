"""What agents did: entries, steps and timeline events."""
