"""What goes: scores, couplings and a ratio become masks, each granularity in its own file."""
