"""Experiments: one file a table, used by the command line."""
