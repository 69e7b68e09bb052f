"""SVG charts of the report."""
