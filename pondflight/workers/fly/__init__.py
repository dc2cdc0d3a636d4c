"""The backend ``fly``: workers as Fly.io Machines. Experimental: see docs/backends/fly.md."""
