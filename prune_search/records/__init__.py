"""What studies have measured: the records, and the fronts, intervals and sizes drawn from them."""
