"""Rate limits, and their store within one process."""
