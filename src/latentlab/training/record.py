"""The record of one epoch, the same for every kind of training."""

Record = dict[str, float]
"""`epoch` (from 1), `learning_rate` (its last), `train/<term>` and `validation/<term>`."""
