"""Plots drawn with Matplotlib."""
