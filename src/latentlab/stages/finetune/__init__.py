"""The stage `finetune`: a classifier on the trained encoder."""

from latentlab.stages.finetune.stage import run

__all__ = ["run"]
