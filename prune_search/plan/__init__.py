"""What one trial does: the axes of a strategy, what goes together, and the plan itself."""
