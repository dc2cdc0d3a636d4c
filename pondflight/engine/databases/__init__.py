"""The organisation's databases, attached to the user's DuckDB."""
