"""The way in for images that no device sent: a folder becomes raw images and Captures."""
