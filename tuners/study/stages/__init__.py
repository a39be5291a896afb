"""A study's stages, as its driver runs them: baseline, search, control, re-evaluation."""
