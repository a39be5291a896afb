"""A study: made, given a cluster and room, driven through its stages, and held in Python."""
