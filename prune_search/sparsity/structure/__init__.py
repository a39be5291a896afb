"""Hidden units: found by tracing a network, taken out of it, and laid back into it."""
