"""The whole system on one machine. All servers are Python packages, listen on loopback, and share one state folder."""
