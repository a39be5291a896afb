"""Policies of other libraries, into RLlib's networks: read, laid out, compared, and written."""
