"""The stage `evaluate`: every model on the test split."""

from latentlab.stages.evaluate.stage import run

__all__ = ["run"]
