"""Figures drawn with Matplotlib."""
