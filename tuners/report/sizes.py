"""What policies take on disk: of the front, and of the dense baseline beside it.

Parameters that are not zero say how much was pruned; what is stored says what that has saved so
far, and what is left after compaction what it can save. Only these compare single weights, which
stay in their tensors as zeros, with neurons and filters, which are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prune_search.records.models import BaselineRecord, Point

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("non-zero", "smaller", "stored", "compact", "bytes stored", "bytes compact")
MEANING = (
    "Parameters of the policy's network: those that are not zero; those stored in the checkpoint,"
    " zeros among them; those that `compact` leaves. Bytes of the file that holds them: in the"
    " checkpoint, with the critic; as `compact` writes it, without."
)


def cells(policy: Point | BaselineRecord) -> list[str]:
    """A policy's figures, in the order of `HEADINGS`; `-` for what is not known."""
    nonzero, factor, stored, compact = policy.parameters, 1.0, policy.parameters, None
    if isinstance(policy, Point):
        nonzero, factor, compact = policy.nonzero, policy.compression, policy.compact
        stored = policy.physical or policy.parameters
    counts = [nonzero, stored, compact, policy.stored_bytes, policy.compact_bytes]
    found = ["-" if count is None else f"{count:,}" for count in counts]
    return [found[0], f"{factor:.1f}x", *found[1:]]


def table(points: Sequence[Point], baseline: BaselineRecord | None, empty: Table) -> Table:
    """A row for the baseline, and for each point.

    Args:
        points: of the front.
        baseline: the dense one, once it is trained.
        empty: a table with a first column, of names, in the style of those around it.
    """
    for heading in HEADINGS:
        empty.add_column(heading, justify="right")
    if baseline is not None:
        empty.add_row("dense", *cells(baseline))
    for point in points:
        empty.add_row(f"[bold]{point.name}[/]", *cells(point))
    empty.caption = MEANING
    return empty
