"""Faults of the network, in a namespace of its own: ``python -m integration.faults``."""
