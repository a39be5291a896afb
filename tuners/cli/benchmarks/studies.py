"""Commands that measure searches, and what studies cost beside their training."""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePath
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    Name,
    Overrides,
    Preset,
    Storage,
    Trust,
    benchmarks,
    check_writable,
    err,
    opened,
    out,
    writing,
)

if TYPE_CHECKING:
    from rich.table import Table

    from tuners.benchmarks.scale import Scale, Seconds
    from tuners.benchmarks.search.comparison import Result


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
    retrain: Annotated[
        int,
        typer.Option(
            min=0, help="Training seeds with which the plans on each front are trained anew."
        ),
    ] = 0,
    run_on: Annotated[
        bool,
        typer.Option(
            "--run-on", help="Run on what was stopped early, to know how often that was wrong."
        ),
    ] = False,
    storage: Annotated[
        str, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = "benchmark",
    to: Annotated[
        Path, typer.Option(help="JSON file of all curves; a .md and a .png lie beside it.")
    ] = Path("benchmark-search.json"),
    overrides: Overrides = None,
    trust: Trust = False,
) -> None:
    """The default search against its rivals and its own parts, at equal env steps."""
    picture, text = to.with_suffix(".png"), to.with_suffix(".md")
    if to in (picture, text):
        raise UserError(f"--to: must be a JSON file, got {str(to)!r}")
    check_writable("--to", to)
    from tuners.benchmarks.search.arms import DEFAULT
    from tuners.benchmarks.search.comparison import benchmark
    from tuners.benchmarks.search.page import page
    from tuners.plots.search import benchmark_figure
    from tuners.words import count

    changes = [*(overrides or []), f"storage={json.dumps(storage)}"]
    settings = experiment_file.load(preset, changes, trust)
    try:
        found = benchmark(
            settings,
            Path(preset).stem,
            range(seeds),
            env_steps,
            out.print,
            against,
            retrain,
            run_on,
            _command(preset, seeds, env_steps, against, retrain, run_on, overrides, to),
        )
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
        text.write_text(page(found, PurePath(picture.name)), encoding="utf-8")
    out.print(_searches(found))
    leads = [
        f"ahead of {name}, its plans trained anew: {ahead}, log-hypervolume"
        for name in found.others
        if (ahead := found.ahead(name)) is not None
    ]
    stops = [
        f"{name}: {told.wrong} of {count(told.stopped, 'trial')} that it stopped would still have"
        " improved the front"
        for name in names
        if (told := found.stops(name)) is not None
    ]
    for line in (*ratios, *leads, *stops):
        out.print(line, highlight=False, soft_wrap=True)


def _command(
    preset: str,
    seeds: int,
    env_steps: int,
    against: list[str] | None,
    retrain: int,
    run_on: bool,
    overrides: list[str] | None,
    to: Path,
) -> str:
    options = [f"--preset {quote(preset)}", f"--seeds {seeds}", f"--env-steps {env_steps}"]
    options += [f"--against {quote(name)}" for name in against or ()]
    options += [f"--retrain {retrain}"] if retrain else []
    options += ["--run-on"] if run_on else []
    options += [f"--set {quote(change)}" for change in overrides or ()]
    place = quote(to.name if to.is_absolute() else to.as_posix())
    return " ".join(["prune-search benchmark search", *options, f"--to {place}"])


def _searches(found: Result) -> Table:
    import numpy as np
    from rich.table import Table

    from tuners.benchmarks.search.arms import DEFAULT

    table = Table("search", box=None, pad_edge=False)
    columns = ("hypervolume", "quartiles", "on its own seeds", "log-hypervolume", "anew")
    for column in (*columns, "env steps", "saved", "trials"):
        table.add_column(column, justify="right")
    for name in (DEFAULT, *found.others):
        arm = found.arm(name)
        anew = found.anew(name)
        low, middle, high = np.quantile([one.final_hypervolume for one in arm], [0.25, 0.5, 0.75])
        table.add_row(
            name,
            f"{middle:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{np.median([one.hypervolume for one in arm]):.4f}",
            f"{np.median([one.final_log_hypervolume for one in arm]):.4f}",
            f"{np.median(anew):.4f}" if anew else "",
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

    check_writable("--to", to)
    with TemporaryDirectory(prefix="prune-search-") as temporary:
        place = f"storage={json.dumps(storage or temporary)}"
        settings = experiment_file.load(preset, [place, f"pruning.rounds={rounds}"], trust)
        found = benchmark(settings, trials or [10, 100, 1000], nodes, err.print)
    if to is not None:
        with writing("--to", to):
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
