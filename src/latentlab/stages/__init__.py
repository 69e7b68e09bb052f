"""One module per stage: load, compute, write, track. Each has `run(stage)`."""
