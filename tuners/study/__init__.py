"""A study as its driver runs it: made, given a cluster and room, searched, re-evaluated."""
