"""A server that stands for images of others."""
