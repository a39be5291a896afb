"""Inside RLlib's learners: weights by name, what is held there, and what they are asked."""
