"""Workers as Kubernetes pods: any number of proxies, any number of nodes, no scheduler of ours."""
