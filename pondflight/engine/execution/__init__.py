"""Running statements: sessions, cursors, results, uploads."""
