"""Import of images that no device sent: files of a folder or a prefix become raw images and Captures."""
