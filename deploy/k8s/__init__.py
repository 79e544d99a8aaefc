"""The system on a cluster: kustomize manifests, and commands that make the buckets and the Secrets."""
