"""A policy as plain data, from observation to action, and what runs it: NumPy and torch, no Ray."""
