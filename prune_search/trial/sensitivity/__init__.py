"""How much pruning each layer bears by itself, measured without training."""
