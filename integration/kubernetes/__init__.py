"""A real Kubernetes, and the suites that need one."""
