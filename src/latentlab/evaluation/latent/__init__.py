"""Latent spaces: density, interpolation, maps, and what latent codes say about classes."""
