"""What a policy does and costs: its return, its work, and a checkpoint measured by itself."""
