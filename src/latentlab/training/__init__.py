"""Training: one loop for every family with one loss, and what it is made of."""
