"""Recorded trials of random plans: their files, and those that ship."""
