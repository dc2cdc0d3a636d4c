"""Statements that run: sessions, cursors, results, uploads."""
