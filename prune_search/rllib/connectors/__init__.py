"""What RLlib's connectors do between environment and network, done and told without them."""
