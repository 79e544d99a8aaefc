"""Rules that compare desired and reported state and decide when a training is due, and adapters to the servers."""
