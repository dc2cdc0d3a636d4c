"""The backend ``ecs``: workers as tasks of AWS Fargate. Experimental: see docs/backends/ecs.md."""
