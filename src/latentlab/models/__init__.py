"""The networks, one family per file; none of them knows where data comes from or goes to."""
