"""All cells, side by side on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prune_search.matrix.cells import Cell, Strategy, run_cell
from prune_search.training.algorithm import process_settings


def run(algorithms: Sequence[str], chosen: Sequence[Strategy]) -> Iterator[Cell]:
    """Runs every strategy on every algorithm: the cells, as they get ready.

    Args:
        algorithms: keys of `ALGORITHMS`.
        chosen: strategies without a `refusal`.
    """
    import ray

    # A few at a time, so that processes are used again and no single task takes long.
    parts = [chosen[start : start + _PART] for start in range(0, len(chosen), _PART)]
    task = ray.remote(_run_part).options(num_cpus=1, max_retries=0)
    left = [task.remote(name, part) for name in algorithms for part in parts]
    while left:
        ready, left = ray.wait(left)
        for reference in ready:
            yield from ray.get(reference)


_PART = 8


def _run_part(algorithm: str, chosen: Sequence[Strategy]) -> list[Cell]:
    process_settings(1)
    return [run_cell(algorithm, strategy) for strategy in chosen]
