"""Words that several views share: counts, and plans and names that wrap where a reader would."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from prune_search.records.models import TrialRecord


def count(number: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def either(numbers: Sequence[int]) -> str:
    """`100, 200 or 400`."""
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last


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


def paragraph(text: str) -> str:
    """A paragraph of a page in Markdown: lines of at most 100 columns, ended by a line break."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False) + "\n"


def hanging(line: str, width: int, indent: int) -> str:
    """A line in lines that end at words, with those after the first set in.

    Addresses and commands stay whole, longer than a line though they may be.
    """
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def joined(parts: Sequence[str], separator: str, width: int) -> str:
    """Parts in lines that end between two of them."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}{separator}{part}" if lines[-1] else part
        if lines[-1] and len(longer) > width:
            lines[-1] = lines[-1] + separator.rstrip()
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def outcome(trial: TrialRecord) -> str:
    """What became of a trial, in a word or two.

    Its state; or that it was given up, by itself or by the search, before its budget was used.
    """
    return "given up" if trial.given_up else trial.state
