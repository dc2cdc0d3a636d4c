"""Compares the results of queries with those of the database itself.

``python -m integration.truth`` (``make truth``) runs the same query with a database's own client,
in DuckDB over a local copy of its rows, and in pondflight over Flight SQL and HTTP, and compares
every cell.
"""
