"""A page that decodes points of a latent space in the browser."""
