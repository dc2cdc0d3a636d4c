"""What a worker refuses, limits and records."""
