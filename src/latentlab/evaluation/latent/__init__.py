"""Latent spaces: density, projections, interpolation and metrics of latent codes."""
