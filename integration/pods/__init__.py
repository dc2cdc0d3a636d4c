"""Real pods: kubelet and containerd run the project's own image, beside a Docker engine."""
