"""Gradient over weights: losses, recipes, one training loop that can be interrupted anywhere."""
