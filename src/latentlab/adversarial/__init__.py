"""The training of a GAN: two players, one step each per batch."""
