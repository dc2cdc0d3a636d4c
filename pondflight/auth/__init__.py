"""Authentication: tokens, the keys that verify them, and the databases that a token shows."""
