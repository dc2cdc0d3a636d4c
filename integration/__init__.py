"""Suites that need more than Python: real servers, real clients, the whole product."""
