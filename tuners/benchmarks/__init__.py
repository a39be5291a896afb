"""What `prune-search benchmark` runs: ratios against a baseline run side by side."""
