"""Ways to start a worker. ``base.Backend`` is what the pool knows of them."""
