"""The search beside its rivals, at equal env steps."""
