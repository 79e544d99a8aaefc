"""The web server of the device: the operator's page, `POST /inspect`, probes and metrics."""
