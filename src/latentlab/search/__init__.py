"""Hyperparameter search: the space, the study, its record and its executors."""
