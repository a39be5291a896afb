"""One trial: prune, train, evaluate, and again; what it starts from, and what is checked before."""
