"""Commands that measure: ratios against a baseline run side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from prune_search import experiment_file
from prune_search.cli._app import Name, Storage, benchmarks, opened


@benchmarks.command("masks")
def benchmark_masks(
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of iterations.")] = 20,
    preset: Annotated[str, typer.Option(help="Preset or experiment file.")] = "cartpole",
) -> None:
    """Time of an RLlib iteration with masks enforced, against one without, in one process."""
    from prune_search.training.benchmark import masks_overhead

    result = masks_overhead(experiment_file.load(preset), pairs)
    print(
        f"iteration with masks / without: median {result.median:.3f}"
        f" (quartiles {result.low:.3f}, {result.high:.3f}; {pairs} pairs,"
        f" weight sparsity {result.weight_sparsity:.3f})"
    )


@benchmarks.command("wall")
def benchmark_wall(name: Name, storage: Storage = "studies") -> None:
    """A finished study's wall time, against the RLlib time that was in it."""
    from tuners.benchmark import wall_overhead

    folder, _ = opened(storage, name)
    print(wall_overhead(folder))
