"""Infrastructure that knows nothing of models: errors, files, processes, progress, paths."""
