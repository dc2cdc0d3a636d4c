"""Types of results and parameters, and how they are converted between DuckDB and Arrow."""
