"""RLlib's configuration of what the experiment file describes."""
