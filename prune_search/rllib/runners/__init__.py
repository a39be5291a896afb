"""Sampling and updating in less time than RLlib's, to the same episodes and weights."""
