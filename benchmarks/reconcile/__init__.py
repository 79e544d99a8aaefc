"""How long a pass of the reconciler takes, and how much memory it needs."""
