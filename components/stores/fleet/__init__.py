"""What devices report of themselves."""
