"""RLlib's configuration of what the experiment file describes: algorithm, environment, data."""
