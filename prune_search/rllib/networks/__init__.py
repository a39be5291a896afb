"""RLlib's networks: which parameters act, which hidden units can go, and their removal."""
