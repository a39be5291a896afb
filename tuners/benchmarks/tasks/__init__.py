"""What studies have found on their tasks: fronts, and the plan to take against its controls."""
