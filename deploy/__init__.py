"""Deployments: the stack on one machine (`deploy.local`) and on a cluster (`deploy/k8s`)."""
