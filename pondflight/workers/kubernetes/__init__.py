"""Workers as Kubernetes pods: any number of proxies and nodes, without a scheduler of ours."""
