"""What `params.yaml` may say: its sections, and what is wrong in them."""
