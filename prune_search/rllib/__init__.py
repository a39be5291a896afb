"""All that knows RLlib from inside: what it trains, where its weights lie, and how they change."""
