"""The xDS protocol: named versioned resources, subscriptions, SotW and Delta sessions. No IO, nothing of Kubernetes."""
