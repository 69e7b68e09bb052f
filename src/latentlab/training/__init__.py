"""Training loops, optimizers, schedules, checkpoints and distributed training."""
