"""The matrix in the documentation: Markdown, made of cells and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from prune_search.matrix.cells import RATIO, Cell, Strategy, strategies

_HEAD = f"""# Methods

Every strategy on every algorithm, each on a small network of RLlib's defaults: pruned to
{RATIO:.0%} after one training iteration, then trained for two more. Before and after each of them
every masked weight was exactly zero, and so were its moments and its copies in target networks and
env runners; every layer kept something; the checkpoint opened with RLlib alone and had as many
zeros as the learner. Neurons and filters were then taken out physically, and the smaller network
was trained and saved again.

A cell is the zero share of the acting network's kernels, in percent, counted from its tensors.
Output units are kept, and neurons and filters take along what reads them, so that their share
differs from the one asked for; `threshold` has none. ✗ is a cell in which something did not hold.

Vectors are read where neurons and weights go, images where filters go. SAC, CQL and IQL act in
[-1, 1]^4, the others choose from two actions; BC, MARWIL, CQL and IQL learn from recorded steps.

This page is written by `prune-search benchmark methods --out docs/methods.md`.
"""


def markdown(algorithms: Sequence[str], cells: Iterable[Cell]) -> str:
    """The page: a table for each granularity, what failed, and what is refused.

    Args:
        algorithms: the columns.
        cells: of each possible strategy on each algorithm; an absent one is shown as such.
    """
    found = {(cell.strategy, cell.algorithm): cell for cell in cells}
    possible = [strategy for strategy in strategies() if strategy.refusal is None]
    lines = [_HEAD]
    for granularity, rows in groupby(possible, lambda strategy: strategy.granularity):
        lines += [f"## {granularity}", "", *_heading(["criterion", "allocation", *algorithms])]
        for strategy in rows:
            values = [_value(found.get((strategy, name))) for name in algorithms]
            lines.append(_row([strategy.criterion, strategy.allocation or "", *values]))
        lines.append("")
    failed = [cell for cell in found.values() if cell.problems]
    done = f"{len(found)} of {len(possible) * len(algorithms)} cells were run"
    lines += [f"{done}; something did not hold in {len(failed)}.", ""]
    if failed:
        lines += [f"- {_title(cell)}: {'; '.join(cell.problems)}" for cell in failed] + [""]
    return "\n".join([*lines, *_refused()]) + "\n"


def _refused() -> list[str]:
    lines = ["## Refused before training", "", *_heading(["granularity", "criterion", "why"])]
    reasons: dict[str, list[Strategy]] = {}
    for strategy in strategies():
        if strategy.refusal is not None:
            reasons.setdefault(strategy.refusal, []).append(strategy)
    for reason, group in reasons.items():
        criteria = list(dict.fromkeys(strategy.criterion for strategy in group))
        lines.append(_row([group[0].granularity, ", ".join(criteria), reason]))
    return lines


def _value(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    if cell.problems or cell.sparsity is None:
        return "✗"
    return f"{100 * cell.sparsity:.0f}"


def _title(cell: Cell) -> str:
    strategy = cell.strategy
    parts = (strategy.granularity, strategy.criterion, strategy.allocation)
    return f"{cell.algorithm}, {'/'.join(part for part in parts if part)}"


def _heading(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(values: Iterable[str]) -> str:
    return f"| {' | '.join(values)} |"
