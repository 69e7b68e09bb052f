"""The typed schema of params.yaml, its validation and its error messages."""
