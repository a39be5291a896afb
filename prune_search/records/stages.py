"""What a study's wall time goes into, in the words that its record holds."""

from __future__ import annotations

START, RAY, BASELINE, FIRST = "start", "ray", "baseline", "first trial"
TRIALS, CONTROL, FINAL = "trials", "control", "final"
OVER = "over"
"""Which is not counted: what MLflow and Ray take to end."""

MEANINGS = {
    START: "from the command to the driver: imports and checks",
    RAY: "until there is a Ray cluster",
    BASELINE: "finding the dense policy, or training and measuring it",
    FIRST: "until the first trial begins: its process, and what it imports",
    TRIALS: "until the last trial has ended",
    CONTROL: "waiting for the dense control",
    FINAL: "measuring the front again on the final seeds",
}
"""Each stage, in order."""
