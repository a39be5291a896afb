"""Finds small policies for deep reinforcement learning: everything inside one trial."""
