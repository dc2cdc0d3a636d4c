"""PostgreSQL, MariaDB, SQLite and DuckDB files behind one SQL."""
