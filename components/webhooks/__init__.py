"""The receiver of webhooks, and the listener that it shares with the reconciler's door."""
