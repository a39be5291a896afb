"""The faults' Markdown table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.harness import Outcome

_HEAD = """# Faults

What became of studies that faults were injected into, on a Ray cluster of several nodes on one
machine: written by `{command}`. A study is a few trials, one at a time, of
CartPole of five rounds each. Points are those that the study had when the fault was injected, and
at its end. A point is lost when it isn't there at the end as it was then, to the time at which it
was measured; doubled when the study or MLflow has it twice (or MLflow hasn't got it). The front is
equal when all points, the front and its final measurements are, to the last bit, those of a study
with the same seed that nothing happened to.

| kind | moment | the user was told | points before → at the end | lost | doubled | front equal |
|---|---|---|---|---|---|---|
"""


def markdown(outcomes: Sequence[Outcome], command: str) -> str:
    """All of it as a document, which names the command that has made it."""
    rows = [
        f"| {o.injection.kind} | {o.injection.moment} | {_told(o.told)} | {o.before} → {o.after} |"
        f" {o.lost} | {o.doubled} | {'yes' if o.equal else '**no**'} |"
        for o in outcomes
    ]
    kinds = len({o.injection.kind for o in outcomes})
    good = sum(o.good for o in outcomes)
    total = (
        f"\n{len(outcomes)} injections of {kinds} kinds; {good} without loss, with an equal front,"
        f" and told. Lost points: {sum(o.lost for o in outcomes)}. Doubled points:"
        f" {sum(o.doubled for o in outcomes)}.\n"
    )
    return _HEAD.replace("{command}", command) + "\n".join(rows) + "\n" + total


def _told(lines: Sequence[str]) -> str:
    shorter = (re.sub(r"\S*/faults-\w+/", ".../", line) for line in lines)
    return "<br>".join(line.replace("|", "\\|") for line in shorter) or "**nothing**"
