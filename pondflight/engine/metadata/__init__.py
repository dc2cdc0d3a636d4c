"""What Flight SQL's metadata calls and options answer."""
