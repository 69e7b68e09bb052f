"""Metrics of reconstructions, classifiers, generators and latent spaces."""
