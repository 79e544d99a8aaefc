"""From a device or an image to labels and people, and back."""
