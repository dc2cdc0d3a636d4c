"""The Caddy that ``serve`` starts, so that a laptop has TLS as a deployment does.

A deployment runs its own Caddy, with the same Caddyfile (``caddy/``).
"""
