"""Who may do what: identities, buckets, and where an installation keeps them."""
