"""The benchmarks: what they measure and how. `make bench` runs them."""
