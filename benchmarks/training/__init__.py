"""The time to a trained model: fetching the images onto this machine, and the training itself."""
