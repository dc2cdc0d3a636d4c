"""Every key, once, with its type, default and description; a file for each part of the product."""
