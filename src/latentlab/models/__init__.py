"""Networks, one model family per file, and how to build, run, measure and save them."""
