"""The whole system on one machine, from Python packages alone: loopback only, one folder of state."""
