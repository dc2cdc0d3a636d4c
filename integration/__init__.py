"""Suites that need real servers and real clients: they test the whole product."""
