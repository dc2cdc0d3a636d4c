"""Ways to start a worker; ``base.Backend`` is their interface to the pool."""
