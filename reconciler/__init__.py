"""What should run, what runs, and what follows: rules over ports, and their adapters."""
