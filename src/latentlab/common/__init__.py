"""Infrastructure without knowledge of models: errors, files, processes, progress, paths."""
