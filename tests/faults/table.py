"""The faults' Markdown table."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.harness import Outcome

_WIDTH = 100  # of a line of the page; rows of its table are as long as they are

_HEAD = """What became of studies into which faults were injected, on a Ray cluster of several
nodes on one machine; written by `{command}`. Each study has a few trials, one at a time, on
CartPole, with five rounds each. The points are those that the study had when the fault was injected
and those that it had at its end. A point is lost if it is not there at the end exactly as it was,
down to the time at which it was measured. It is doubled if the study or MLflow has it twice, or if
MLflow lacks it. The front is equal if all points, the front and its final measurements are, to the
last bit, those of a study with the same seed to which nothing happened."""

_ROOT = f"{Path(__file__).parents[2]}/"
_COLUMNS = [
    "| kind | moment | the user was told | points before → at the end | lost | doubled |"
    " front equal |",
    "|---|---|---|---|---|---|---|",
]


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
        f"{len(outcomes)} injections of {kinds} kinds; {good} without loss, with an equal front,"
        f" and told. Lost points: {sum(o.lost for o in outcomes)}. Doubled points:"
        f" {sum(o.doubled for o in outcomes)}."
    )
    head = textwrap.fill(_HEAD.replace("{command}", command), _WIDTH, break_on_hyphens=False)
    table = [*_COLUMNS, *rows]
    return "\n".join(["# Faults", "", head, "", *table, "", textwrap.fill(total, _WIDTH), ""])


def _told(lines: Sequence[str]) -> str:
    shorter = (re.sub(r"[^\s(]*/faults-\w+/", ".../", line).replace(_ROOT, "") for line in lines)
    return "<br>".join(line.replace("|", "\\|") for line in shorter) or "**nothing**"
