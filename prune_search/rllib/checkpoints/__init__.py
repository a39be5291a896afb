"""An algorithm in a folder: RLlib's checkpoint, what it leaves out, and what is none."""
