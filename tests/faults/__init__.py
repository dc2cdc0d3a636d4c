"""Faults of our own processes, and what must happen: docs/reliability.md has the list."""
