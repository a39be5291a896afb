"""What training, evaluation and pruning cost, ours and RLlib's timed in turn."""
