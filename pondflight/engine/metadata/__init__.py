"""The answers to Flight SQL's metadata calls and session options."""
