"""Faults injected into studies that run on a real cluster: `python -m tests.faults`."""
