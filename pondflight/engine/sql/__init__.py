"""SQL as text: tokens, statements, and what is rewritten before DuckDB sees it."""
