"""Commands for operators: what the workers do, and what is wrong."""
