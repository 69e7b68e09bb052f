"""What every network is made of, and how it is run, measured and stored."""
