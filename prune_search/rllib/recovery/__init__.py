"""Recovery inside RLlib: distillation from a teacher, and what rewinding goes back to."""
