"""Suites against real servers, which they start themselves."""
