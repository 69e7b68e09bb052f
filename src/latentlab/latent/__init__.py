"""What the codes look like."""
