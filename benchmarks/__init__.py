"""What docs/performance.md reports; ``make bench`` runs ``benchmarks/__main__.py``."""
