"""The packed policy: one file of few bytes, documented in docs/packed.md; no Ray, and no pickle."""
