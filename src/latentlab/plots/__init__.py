"""Pictures: one module per subject, all in the style of `canvas`."""
