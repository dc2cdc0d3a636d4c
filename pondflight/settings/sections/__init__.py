"""Every key, declared once with its type, default and description."""
