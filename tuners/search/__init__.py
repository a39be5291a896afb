"""Which plan is tried next, and which trial goes on: the space, the samplers, the stopping."""
