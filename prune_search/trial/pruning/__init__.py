"""A plan at work on an algorithm: its targets, masks, quantization and recovery."""
