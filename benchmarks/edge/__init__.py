"""The device's way from JPEG bytes to a verdict, beside the way that the published sample takes."""
