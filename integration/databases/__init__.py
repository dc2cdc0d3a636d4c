"""PostgreSQL, MariaDB, SQLite and DuckDB files, attached and queried together."""
