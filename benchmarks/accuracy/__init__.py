"""The accuracy of a model on parts that its training never saw: the shipped use case beside plain training."""
