"""Types: what a result has, what a parameter takes, and how DuckDB and Arrow agree on them."""
