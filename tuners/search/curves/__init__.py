"""A sampler that learns from every round: predicts trials' whole curves, and takes the best."""
