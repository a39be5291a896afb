"""Commands that measure: ratios against a baseline run side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from prune_search import experiment_file
from prune_search.cli._app import Name, Storage, Trust, benchmarks, opened

Pairs = Annotated[int, typer.Option(min=1, help="Pairs of measurements.")]
Preset = Annotated[str, typer.Option(help="Preset or experiment file.")]


@benchmarks.command("masks")
def benchmark_masks(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    granularity: Annotated[
        str, typer.Option(help="weight, neuron, filter, 2:4 or 1:4.")
    ] = "weight",
    trust: Trust = False,
) -> None:
    """Time of an RLlib iteration with masks enforced, against one without, in one process."""
    from prune_search.training.benchmark import masks_overhead

    settings = experiment_file.load(preset, trust=trust)
    result = masks_overhead(settings, pairs, granularity)
    print(f"iteration with {granularity} masks / without: {result}, {pairs} pairs")


@benchmarks.command("removal")
def benchmark_removal(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    hidden: Annotated[int, typer.Option(min=16, help="Units of each of two layers.")] = 1024,
    trust: Trust = False,
) -> None:
    """Time of a learner update with 90 % of the parameters removed, against the dense one's."""
    from prune_search.training.benchmark import removal_speed

    layers = f"algorithm.model.fcnet_hiddens=[{hidden}, {hidden}]"
    settings = experiment_file.load(preset, [layers], trust)
    result = removal_speed(settings, pairs)
    print(f"learner update, {hidden}x{hidden}, after removal / dense: {result}, {pairs} pairs")


@benchmarks.command("wall")
def benchmark_wall(name: Name, storage: Storage = "studies") -> None:
    """A finished study's wall time, against the RLlib time that was in it."""
    from tuners.benchmark import wall_overhead

    folder, _ = opened(storage, name)
    print(wall_overhead(folder))
