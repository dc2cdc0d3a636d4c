"""A server that stands for other images."""
