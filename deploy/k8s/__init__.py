"""The system on a cluster: manifests (kustomize), the set-up of the buckets, and the making of Secrets."""
