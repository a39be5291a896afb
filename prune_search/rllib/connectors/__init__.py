"""What RLlib's connectors do, on whole arrays; and where nothing but RLlib's own will do."""
