"""A member cluster behind a kube-apiserver: list, then watch, per kind."""
