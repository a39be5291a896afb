"""The packed policy: one file of few bytes, documented in docs/packed.md; no Ray, and no pickle."""

METHOD, BITS = "network_sharing", 5
"""What a policy is packed with where nobody says: small ones keep their actions with it."""
