"""The HTML report and the explorer of latent spaces, rendered from the outputs of the pipeline."""
