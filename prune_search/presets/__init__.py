"""Experiment files that ship with prune-search."""
