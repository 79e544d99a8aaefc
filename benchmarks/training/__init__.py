"""What the way to a trained model costs: the images onto this machine, and the training itself."""
