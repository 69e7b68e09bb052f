"""Timing and quality benchmarks; `make bench` runs them in an environment of their own."""
