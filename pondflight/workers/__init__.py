"""The pool, which knows whose worker is which, and the backends that start workers."""
