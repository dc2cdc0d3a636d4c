"""What a query returns, beside what the database itself returns.

``python -m integration.truth`` (``make truth``) asks the same of a database's own client, of DuckDB
over a local copy of its rows, and of pondflight by Flight SQL and by HTTP, and compares every cell.
"""
