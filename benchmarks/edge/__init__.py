"""The device's inspection, from JPEG bytes to a verdict, beside the way of the published sample."""
