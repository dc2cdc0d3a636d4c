"""Whole deployments: pondflight behind a reverse proxy with TLS, databases, and real clients."""
