"""The Caddy that ``serve`` starts, so that a laptop has what a deployment has: TLS.

A deployment runs its own Caddy, with the same Caddyfile (``caddy/``).
"""
