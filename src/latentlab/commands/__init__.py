"""Commands that are not stages: each module implements one verb of the command line."""
