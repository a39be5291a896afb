"""Words that several views share: counts, and plans and names that wrap where a reader would."""

from __future__ import annotations

import re

from prune_search.records.models import TrialRecord


def count(number: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def wrapped(label: str, width: int) -> str:
    """A plan's label in lines that end at a space or behind a slash, never within a word.

    Args:
        label: such as `weight/magnitude/erk/cubic 98.0%`.
        width: of a line; a longer word has a line of its own.
    """
    lines = [""]
    for part in re.findall(r"[^/ ]+/?| ", label):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part if lines[-1] else part.lstrip()
    return "\n".join(line.rstrip() for line in lines)


def outcome(trial: TrialRecord) -> str:
    """What became of a trial, in a word or two.

    Its state; or that it was given up, by itself or by the search, before its budget was used.
    """
    given_up = trial.collapsed or (trial.state == "stopped" and not trial.cut_off)
    return "given up" if given_up else trial.state
