"""What runs inside a worker: DuckDB behind Flight SQL, for one user."""
