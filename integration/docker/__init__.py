"""The backend docker, on a real Docker engine of the suite's own."""
