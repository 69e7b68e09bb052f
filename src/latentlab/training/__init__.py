"""Training: one loop for every family with one loss, another for the two players of a GAN."""
