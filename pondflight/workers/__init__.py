"""Who has which worker: the pool, and the backends that start workers."""
