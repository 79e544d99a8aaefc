"""What the device serves: the operator's page, images posted to it, probes and metrics."""
