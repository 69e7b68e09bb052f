"""Learn, compare and explain latent representations of images."""

__version__ = "0.1.0"
