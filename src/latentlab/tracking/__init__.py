"""MLflow: one run per stage execution; no other package knows it."""
