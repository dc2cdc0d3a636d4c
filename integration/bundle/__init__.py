"""What people deploy: pondflight with a front that has TLS, databases behind, real clients."""
