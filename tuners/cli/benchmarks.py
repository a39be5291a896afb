"""Commands that measure methods, searches, studies, and the files that policies become."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_search.errors import UserError, check_known
from prune_search.experiment import file as experiment_file
from prune_search.plan.axes import names as names_of
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    Address,
    Name,
    Overrides,
    Storage,
    Trust,
    benchmarks,
    err,
    opened,
    out,
    writing,
)

if TYPE_CHECKING:
    from rich.table import Table

    from tuners.benchmarks.scale import Scale, Seconds
    from tuners.benchmarks.search.comparison import Result

Preset = Annotated[str, typer.Option(help="Preset or experiment file.")]


@benchmarks.command("methods")
def benchmark_methods(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table, as Markdown.")
    ] = None,
    algorithm: Annotated[
        list[str] | None, typer.Option(help="Only this algorithm; may be repeated.")
    ] = None,
    granularity: Annotated[
        list[str] | None, typer.Option(help="Only this granularity; may be repeated.")
    ] = None,
    address: Address = None,
) -> None:
    """Run every method on every algorithm, kind of action and observation, and check it.

    Each is run for some updates on a small network; half an hour in all on two cores. With --to,
    cells are kept beside the page as they get ready, and the same command goes on after an
    interruption. Ends with status 1 if anything did not hold.
    """
    if to is not None and not to.parent.is_dir():
        raise UserError(f"--to: no folder {str(to.parent)!r}")
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from prune_search.experiment.schema import Resources
    from prune_search.rllib.configuration.algorithms import ALGORITHMS
    from tuners.benchmarks.methods.methods import jobs
    from tuners.benchmarks.methods.run import run
    from tuners.benchmarks.methods.table import markdown
    from tuners.study.cluster import connection

    names, granularities = algorithm or list(ALGORITHMS), granularity or names_of("granularity")
    for field, given, known in (
        ("--algorithm", names, ALGORITHMS),
        ("--granularity", granularities, names_of("granularity")),
    ):
        for value in given:
            check_known(field, value, known)
    chosen = [
        job
        for job in jobs()
        if job.setup.algorithm in names and job.method.granularity in granularities
    ]
    kept = None if to is None else to.with_name(f".{to.name}.cells")
    cells, failed = [], 0
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with connection(Resources(address=address)), Progress(*columns, console=err) as progress:
        task = progress.add_task("cells", total=len(chosen))
        for cell in run(chosen, kept):
            cells.append(cell)
            failed += bool(cell.problems)
            done = f"{cell.setup.algorithm} {cell.method.granularity}, {failed} failed"
            progress.update(task, advance=1, description=done)
            if not err.is_terminal and len(cells) % 50 == 0:
                err.print(f"{len(cells)} of {len(chosen)} cells: {done}")
    text = markdown(cells, chosen)
    if to is None:
        print(text)
    else:
        to.write_text(text, encoding="utf-8")
    if kept is not None:
        kept.unlink(missing_ok=True)
    if failed:
        raise typer.Exit(1)


@benchmarks.command("deep-compression")
def benchmark_deep_compression(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0 on.")] = 3,
    sparsity: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of the weights to prune.")
    ] = 0.98,
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a shared weight.")] = 4,
) -> None:
    """LeNet-300-100 pruned, shared and coded, each stage measured; a Markdown table."""
    import torch

    from tuners.benchmarks.deep_compression import deep_compression, markdown

    torch.set_num_threads(1)
    print(markdown(deep_compression(range(seeds), err.print, sparsity, bits), sparsity, bits))


@benchmarks.command("exports")
def benchmark_exports(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table, as Markdown.")
    ] = None,
    algorithm: Annotated[
        list[str] | None, typer.Option(help="Only this algorithm; may be repeated.")
    ] = None,
    observations: Annotated[
        int, typer.Option(min=1, help="For how many actions are compared.")
    ] = 10_000,
) -> None:
    """Export a policy of every algorithm, network and kind of action to every target.

    A quarter of an hour on a quiet core. Ends with status 1 if anything did not agree with RLlib.
    """
    if to is not None and not to.parent.is_dir():
        raise UserError(f"--to: no folder {str(to.parent)!r}")
    from prune_search.rllib.configuration.algorithms import ALGORITHMS
    from tuners.benchmarks.exports import cases, markdown, run

    names = algorithm or list(ALGORITHMS)
    for name in names:
        check_known("--algorithm", name, ALGORITHMS)
    cells = []
    for cell in run(cases(names), observations):
        cells.append(cell)
        err.print(f"{cell.case.algorithm} {cell.case.policy}, {cell.target}: {cell.text}")
    text = markdown(cells, observations)
    if to is None:
        print(text)
    else:
        to.write_text(text, encoding="utf-8")
    if any(cell.wrong for cell in cells):
        raise typer.Exit(1)


@benchmarks.command("packed")
def benchmark_packed(
    preset: Preset = "cartpole",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0 on.")] = 3,
    ratio: Annotated[
        list[float] | None,
        typer.Option(
            min=0.5,
            max=0.9999,
            help="Share of the weights to remove; a trial each, may be repeated."
            "  [default: 0.99, 0.996]",
        ),
    ] = None,
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a shared weight.")] = 4,
    storage: Annotated[
        Path, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = Path("benchmark-packed"),
) -> None:
    """The smallest packed file of a 256 x 256 policy that keeps its return; a Markdown table."""
    from tuners.benchmarks.packed import markdown, smallest_packed

    ratios = ratio or [0.99, 0.996]
    print(markdown(preset, smallest_packed(preset, range(seeds), ratios, bits, storage, err.print)))


@benchmarks.command("wall")
def benchmark_wall(name: Name, storage: Storage = STUDIES) -> None:
    """A finished study's wall time, against the time that it spent in RLlib."""
    from tuners.benchmarks.wall import wall_overhead

    folder, _ = opened(storage, name)
    print(wall_overhead(folder))


@benchmarks.command("search")
def benchmark_search(
    preset: Preset = "acrobot",
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds; each search runs one study per seed.")
    ] = 5,
    env_steps: Annotated[
        int, typer.Option(min=1, help="Env steps of each study, not counting the baseline's.")
    ] = 1_000_000,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Compare only with this; may be repeated.  [default: all]"),
    ] = None,
    storage: Annotated[
        str, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = "benchmark",
    to: Annotated[
        Path, typer.Option(help="JSON file of all curves; a .png lies beside it.")
    ] = Path("benchmark-search.json"),
    overrides: Overrides = None,
    trust: Trust = False,
) -> None:
    """The default search against its rivals and its own parts, at equal env steps."""
    picture = to.with_suffix(".png")
    if to == picture or not to.parent.is_dir():  # known before hours of searching
        raise UserError(f"--to: must be a JSON file in a folder that exists, got {str(to)!r}")
    from tuners.benchmarks.search.arms import DEFAULT
    from tuners.benchmarks.search.comparison import benchmark
    from tuners.plots.search import benchmark_figure

    changes = [*(overrides or []), f"storage={json.dumps(storage)}"]
    settings = experiment_file.load(preset, changes, trust)
    try:
        found = benchmark(settings, Path(preset).stem, range(seeds), env_steps, out.print, against)
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to go on")
        sys.exit(130)
    names = [DEFAULT, *found.others]
    curves = {name: [one.final_curve for one in found.arm(name)] for name in names}
    ratios = [
        f"env steps until it has the hypervolume of {name} / {name}'s: {found.ratio(name)};"
        f" with the baseline's: {found.ratio(name, with_baseline=True).median:.2f};"
        f" until it has its log-hypervolume: {found.ratio(name, logarithmic=True)}"
        for name in found.others
    ]
    title = f"{settings.environment.id}: the default search, its parts, and its rivals"
    with writing("--to", to):
        to.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        benchmark_figure(curves, env_steps, title, ratios).savefig(picture, dpi=130)
    out.print(_searches(found))
    for line in ratios:
        out.print(line, highlight=False, soft_wrap=True)


def _searches(found: Result) -> Table:
    import numpy as np
    from rich.table import Table

    from tuners.benchmarks.search.arms import DEFAULT

    table = Table("search", box=None, pad_edge=False)
    columns = ("hypervolume", "quartiles", "on its own seeds", "log-hypervolume", "env steps")
    for column in (*columns, "saved", "trials"):
        table.add_column(column, justify="right")
    for name in (DEFAULT, *found.others):
        arm = found.arm(name)
        low, middle, high = np.quantile([one.final_hypervolume for one in arm], [0.25, 0.5, 0.75])
        table.add_row(
            name,
            f"{middle:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{np.median([one.hypervolume for one in arm]):.4f}",
            f"{np.median([one.final_log_hypervolume for one in arm]):.4f}",
            f"{np.median([one.env_steps for one in arm]):,.0f}",
            f"{np.median([one.env_steps_saved for one in arm]):,.0f}",
            f"{np.median([one.trials for one in arm]):.0f}",
        )
    table.caption = (
        "medians over seeds; hypervolumes on the final seeds, which no search saw, at"
        f" {found.env_steps:,} env steps, the baseline's {found.baseline_env_steps:,} not counted;"
        " saved: what stopped trials left of their budgets"
    )
    return table


@benchmarks.command("scale")
def benchmark_scale(
    trials: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Trials of a study; may be repeated.  [default: 10, 100, 1000]"),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes, all on this machine.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each trial.")] = 10,
    preset: Preset = "cartpole",
    storage: Annotated[
        str | None, typer.Option(help="Folder to keep its studies in.  [default: kept nowhere]")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures, as JSON.")
    ] = None,
    trust: Trust = False,
) -> None:
    """What the driver costs per trial, in studies whose training takes no time.

    Ray, Tune, Optuna, MLflow and the records are real; the points are made up.
    """
    from tempfile import TemporaryDirectory

    from tuners.benchmarks.scale import benchmark, to_json

    if to is not None and not to.parent.is_dir():
        raise UserError(f"--to: no folder {str(to.parent)!r}")
    with TemporaryDirectory(prefix="prune-search-") as temporary:
        place = f"storage={json.dumps(storage or temporary)}"
        settings = experiment_file.load(preset, [place, f"pruning.rounds={rounds}"], trust)
        found = benchmark(settings, trials or [10, 100, 1000], nodes, err.print)
    if to is not None:
        to.write_text(json.dumps(to_json(found), indent=1), encoding="utf-8")
    out.print(_scales(found))
    largest = max(found, key=lambda one: one.trials)
    if largest.curve:
        out.print(_curve(largest))
        (_, first), (_, last) = largest.curve[0], largest.curve[-1]
        out.print(
            f"a trial of the last stretch / of the first: {last.wall_s / first.wall_s:.2f} of wall"
            f" time, {last.cpu_s / first.cpu_s:.2f} of the driver's CPU time",
            highlight=False,
            soft_wrap=True,
        )


def _scales(found: list[Scale]) -> Table:
    from rich.table import Table

    table = Table("trials", box=None, pad_edge=False)
    for name in ("in all", *found[0].parts, "start s", "tail s", "load"):
        table.add_column(name, justify="right")
    for one in found:
        costs = (_seconds(cost) for cost in (one.whole, *one.parts.values()))
        rest = (f"{value:.1f}" for value in (one.start_s, one.tail_s, one.load))
        table.add_row(str(one.trials), *costs, *rest)
    table.caption = (
        "seconds a trial, wall / CPU of the driver; mlflow has a thread of its own, beside the rest"
    )
    return table


def _curve(study: Scale) -> Table:
    from rich.table import Table

    table = Table("trials ended", box=None, pad_edge=False)
    table.add_column("seconds a trial since the line before", justify="right")
    for trials, cost in study.curve:
        table.add_row(str(trials), _seconds(cost))
    return table


def _seconds(cost: Seconds) -> str:
    return f"{cost.wall_s:.3f} / {cost.cpu_s:.3f}"
