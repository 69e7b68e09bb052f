"""The sections of the report, one module each; each module has a function `write`."""
