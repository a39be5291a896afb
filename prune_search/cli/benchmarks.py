"""Commands that measure: ratios against a baseline run side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_search import experiment_file
from prune_search.cli._app import Name, Storage, benchmarks, err, opened, out
from prune_search.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from tuners.search_benchmark import Result

Pairs = Annotated[int, typer.Option(min=1, help="Pairs of measurements.")]
Preset = Annotated[str, typer.Option(help="Preset or experiment file.")]


@benchmarks.command("masks")
def benchmark_masks(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    granularity: Annotated[
        str, typer.Option(help="weight, neuron, filter, 2:4 or 1:4.")
    ] = "weight",
) -> None:
    """Time of an RLlib iteration with masks enforced, against one without, in one process."""
    from prune_search.training.benchmark import masks_overhead

    result = masks_overhead(experiment_file.load(preset), pairs, granularity)
    print(f"iteration with {granularity} masks / without: {result}, {pairs} pairs")


@benchmarks.command("removal")
def benchmark_removal(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    hidden: Annotated[int, typer.Option(min=16, help="Units of each of two layers.")] = 1024,
) -> None:
    """Time of a learner update with 90 % of the parameters removed, against the dense one's."""
    from prune_search.training.benchmark import removal_speed

    settings = experiment_file.load(preset, [f"algorithm.model.fcnet_hiddens=[{hidden}, {hidden}]"])
    result = removal_speed(settings, pairs)
    print(f"learner update, {hidden}x{hidden}, after removal / dense: {result}, {pairs} pairs")


@benchmarks.command("wall")
def benchmark_wall(name: Name, storage: Storage = "studies") -> None:
    """A finished study's wall time, against the RLlib time that was in it."""
    from tuners.benchmark import wall_overhead

    folder, _ = opened(storage, name)
    print(wall_overhead(folder))


@benchmarks.command("search")
def benchmark_search(
    preset: Preset = "acrobot",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, each a study of each search.")] = 5,
    env_steps: Annotated[
        int, typer.Option(min=1, help="Env steps of each study, without the baseline's.")
    ] = 1_000_000,
    storage: Annotated[
        str, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = "benchmark",
    to: Annotated[
        Path, typer.Option("--out", help="JSON file of all curves; a .png lies beside it.")
    ] = Path("benchmark-search.json"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a field.")
    ] = None,
) -> None:
    """The default search against random search and a grid by hand, at equal env steps."""
    from tuners.search_benchmark import DEFAULT, OTHERS, benchmark
    from tuners.search_plots import benchmark_figure

    picture = to.with_suffix(".png")
    if to == picture or not to.parent.is_dir():  # known before hours of searching
        raise UserError(f"--out: must be a JSON file in a folder that exists, got {str(to)!r}")
    changes = [*(overrides or []), f"storage={json.dumps(storage)}"]
    settings = experiment_file.load(preset, changes)
    try:
        found = benchmark(settings, Path(preset).stem, range(seeds), env_steps, out.print)
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on with it")
        sys.exit(130)
    curves = {name: [one.curve for one in found.arm(name)] for name in (DEFAULT, *OTHERS)}
    try:
        to.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        benchmark_figure(curves, env_steps).savefig(picture, dpi=130)
    except OSError as error:
        raise UserError(f"--out: cannot write {str(to)!r}: {error.strerror}") from None
    out.print(_searches(found))
    for name in OTHERS:
        ratio = found.ratio(name)
        out.print(
            f"env steps in which the default reaches {name}'s hypervolume / {name}'s env steps:"
            f" {ratio.median:.2f} (quartiles {ratio.quartiles[0]:.2f} to"
            f" {ratio.quartiles[1]:.2f}, 95 % interval {ratio.interval[0]:.2f} to"
            f" {ratio.interval[1]:.2f}); reached in {ratio.reached:.0%} of the pairs",
            highlight=False,
            soft_wrap=True,
        )


def _searches(found: Result) -> Table:
    import numpy as np
    from rich.table import Table

    from tuners.search_benchmark import DEFAULT, OTHERS

    table = Table("search", box=None, pad_edge=False)
    for column in ("hypervolume", "quartiles", "on unseen seeds", "env steps", "trials"):
        table.add_column(column, justify="right")
    for name in (DEFAULT, *OTHERS):
        arm = found.arm(name)
        low, middle, high = np.quantile([one.hypervolume for one in arm], [0.25, 0.5, 0.75])
        table.add_row(
            name,
            f"{middle:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{np.median([one.final_hypervolume for one in arm]):.4f}",
            f"{np.median([one.env_steps for one in arm]):,.0f}",
            f"{np.median([one.trials for one in arm]):.0f}",
        )
    table.caption = f"medians over seeds; hypervolumes at {found.env_steps:,} env steps"
    return table
