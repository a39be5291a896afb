"""Inside RLlib's learners: weights by name, masks held, statistics taken, schedules moved."""
