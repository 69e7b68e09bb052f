"""The stage `evaluate`: all models on the test split."""

from latentlab.stages.evaluate.stage import run

__all__ = ["run"]
