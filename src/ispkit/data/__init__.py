"""Frames with targets: data sets, and pictures that the toolkit makes itself."""
