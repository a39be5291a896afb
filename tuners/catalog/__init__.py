"""Which studies there are: found by name, listed, and whether one runs."""
