"""What passes between teams, one folder each: images, labels, datasets, models, releases, reports of devices."""
