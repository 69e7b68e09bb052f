"""The study that chooses the autoencoder's parameters."""
