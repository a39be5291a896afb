"""Algorithms saved and loaded: RLlib's checkpoint, what it leaves out, and files that are none."""
