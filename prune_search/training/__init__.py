"""RLlib: an algorithm whose network is pruned while it trains."""
