"""S3 and what every store needs of it: listings, a cache of images, reading ahead, claims; and whole files on disk."""
