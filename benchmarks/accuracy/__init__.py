"""What a model is worth on parts that its training never saw: the shipped use case beside plain training."""
