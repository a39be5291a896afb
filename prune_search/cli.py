"""The `prune-search` command."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from prune_search import experiment_file
from prune_search.errors import UserError

if TYPE_CHECKING:
    from prune_search.experiment import Experiment
    from prune_search.record import StudyFolder
    from tuners.report import StudyReport

_BEGAN = time.monotonic()

app = typer.Typer(
    help="Finds small policies for deep reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
benchmarks = typer.Typer(help="Measurements, as ratios against a baseline run side by side.")
app.add_typer(benchmarks, name="benchmark")

# Tables in a file or a pipe have no width to keep to.
out = Console(width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True)

Name = Annotated[str, typer.Argument(help="The study's name, as `prune-search list` shows it.")]
PointName = Annotated[
    str, typer.Argument(metavar="POINT", help="A point, such as t03/2, or 'baseline'.")
]
Storage = Annotated[
    str,
    typer.Option(help="Folder of the studies.", envvar="PRUNE_SEARCH_STORAGE", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what went wrong.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
]


def main() -> None:
    """Entry point: a user's mistake is one line and exit status 2."""
    # Where the user's own environments are, for this process and for Ray's.
    sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except UserError as error:
        err.print(
            f"prune-search: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(2)


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="A preset's name, or a YAML file.")],
    name: Annotated[str | None, typer.Option(help="The study's name; made up if absent.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a field.")
    ] = None,
    address: Address = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Folder of the studies.", envvar="PRUNE_SEARCH_STORAGE"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a dense policy, search how to prune it, and show the front."""
    changes = list(overrides or [])
    changes += [f"resources.address={address}"] if address else []
    changes += [f"storage={json.dumps(storage)}"] if storage else []
    settings = experiment_file.load(experiment, changes)
    from tuners.study import create

    folder = create(settings, name, Path(experiment).stem)
    try:
        _run(folder, settings, quiet)
    except UserError:
        if not folder.trials():  # nothing was computed; the name stays free
            shutil.rmtree(folder.path)
        raise


@app.command()
def resume(
    name: Name,
    address: Address = None,
    storage: Storage = "studies",
    quiet: Quiet = False,
) -> None:
    """Go on with a study that was stopped or killed; repeats at most the round in progress."""
    folder, settings = _open(storage, name)
    if address:
        resources = settings.resources.model_copy(update={"address": address})
        settings = settings.model_copy(update={"resources": resources})
    _run(folder, settings, quiet)


def _run(folder: StudyFolder, settings: Experiment, quiet: bool) -> None:
    from tuners.progress import Progress
    from tuners.report import report
    from tuners.study import run as run_study
    from tuners.terminal import show as show_report

    progress = Progress(settings, folder.name, folder.trials(), out, quiet)
    try:
        tracked = run_study(folder, settings, progress, _BEGAN)
    except KeyboardInterrupt:
        err.print(
            f"stopped; go on with it by: prune-search resume {_words(folder)}", soft_wrap=True
        )
        sys.exit(130)
    if quiet:
        return
    show_report(report(folder, settings), out)
    if tracked.pending:
        out.print(
            f"MLflow has not got all of it ({tracked.problem}); catch up by:"
            f" prune-search resume {_words(folder)}",
            soft_wrap=True,
            highlight=False,
        )
    server = settings.tracking.uri if (settings.tracking.uri or "").startswith("http") else None
    if server is None:
        out.print(f"MLflow UI: prune-search ui{_storage_option(folder)}", highlight=False)
    for label, url in (("runs", tracked.runs_url), ("compare", tracked.compare_url)):
        if url:
            out.print(f"{label}: {url}", soft_wrap=True, highlight=False, markup=False)


@app.command("list")
def list_studies(storage: Storage = "studies") -> None:
    """List the studies."""
    from rich.table import Table

    from tuners.points import open_study, studies
    from tuners.report import report

    table = Table("study", "environment", "state", "trials", "points", "hypervolume")
    for name in studies(storage):
        folder, settings = open_study(storage, name)
        found = report(folder, settings)
        record = folder.study()
        ended = sum(trial.state != "running" for trial in found.trials)
        table.add_row(
            name,
            found.environment,
            "ended" if record and record.ended else "not ended",
            f"{ended}/{settings.search.trials}",
            str(len(found.points)),
            f"{found.hypervolume:.3f}",
        )
    out.print(table)


@app.command()
def show(
    name: Name,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the front as a picture: .png, .svg, .pdf, .html."),
    ] = None,
    storage: Storage = "studies",
) -> None:
    """Show a study: baseline, trials, front, hypervolume; also while it runs."""
    from tuners.report import report, to_json
    from tuners.terminal import show as show_report

    folder, settings = _open(storage, name)
    found = report(folder, settings)
    if plot is not None:
        _draw(found, plot)
    elif as_json:
        print(json.dumps(to_json(found), indent=1))
    else:
        show_report(found, out)


def _draw(found: StudyReport, path: Path) -> None:
    from tuners.plots import study_figure, study_html

    if path.suffix not in (".png", ".svg", ".pdf", ".html"):
        raise UserError(f"--plot: must end in .png, .svg, .pdf or .html, got {str(path)!r}")
    if found.baseline is None:
        raise UserError(f"--plot: study {found.name!r} has no baseline yet")
    try:
        if path.suffix == ".html":
            path.write_text(study_html(found), encoding="utf-8")
        else:
            study_figure(found).savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"--plot: cannot write {str(path)!r}: {error.strerror}") from None


@app.command()
def evaluate(
    name: Name,
    point: PointName,
    episodes: Annotated[
        int | None, typer.Option(min=2, max=100_000, help="As in the search if absent.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=9_999, help="Evaluation seed; the search's own if absent."),
    ] = None,
    as_json: AsJson = False,
    storage: Storage = "studies",
) -> None:
    """Load a point's checkpoint, count its sparsity and measure its return anew."""
    from tuners.points import checkpoint

    folder, settings = _open(storage, name)
    path = checkpoint(folder, point)
    from prune_search.training.checkpoints import CheckpointMeter

    episodes = episodes or settings.evaluation.episodes
    seed = settings.evaluation.seed if seed is None else seed
    measured = CheckpointMeter(settings).measure(path, seed, episodes)
    size, returned = measured.size, measured.returned
    baseline = getattr(folder.study(), "baseline", None)
    result: dict[str, Any] = {
        "study": name,
        "point": point,
        "sparsity": size.sparsity,
        "weight_sparsity": size.weight_sparsity,
        "parameters": size.parameters,
        "nonzero": size.nonzero,
        "return_iqm": returned.iqm,
        "return_low": returned.low,
        "return_high": returned.high,
        "retention": baseline.retention(returned.iqm) if baseline else None,
        "episodes": episodes,
        "seed": seed,
        "checkpoint": str(path),
    }
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        out.print(
            f"{point}: sparsity {size.sparsity:.4f} ({size.nonzero:,} of {size.parameters:,}"
            f" parameters), weight sparsity {size.weight_sparsity:.4f}, return {returned.iqm:.2f}"
            f" \\[{returned.low:.2f}, {returned.high:.2f}] over {episodes} episodes of seed {seed}",
            highlight=False,
        )


@app.command()
def restore(
    name: Name,
    point: PointName,
    to: Annotated[Path | None, typer.Option(help="Folder to write; must not exist.")] = None,
    storage: Storage = "studies",
) -> None:
    """Write the dense baseline, or a point, as an RLlib checkpoint of its own."""
    from tuners.points import checkpoint

    folder, _ = _open(storage, name)
    path = checkpoint(folder, point)
    target = to or Path(f"{name}-{point.replace('/', '-')}")
    if target.exists():
        raise UserError(f"--to: {str(target)!r} exists; give another folder")
    shutil.copytree(path, target)
    out.print(f"{point} is in {target}: Algorithm.from_checkpoint({str(target.resolve())!r})")


@app.command()
def ui(
    storage: Storage = "studies",
    uri: Annotated[str | None, typer.Option(help="Tracking URI, if not the storage's.")] = None,
    experiment: Annotated[str, typer.Option(help="MLflow's experiment.")] = "prune-search",
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve MLflow's UI on the studies, and say where."""
    from tuners.server import ui as serve
    from tuners.tracking import default_uri

    serve(uri or default_uri(Path(storage)), experiment, host, port)


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON Schema.")] = False,
) -> None:
    """Print every field of an experiment file, with its default and help."""
    from prune_search.experiment import Experiment

    if as_json:
        print(json.dumps(Experiment.model_json_schema(), indent=1))
    else:
        print(experiment_file.schema())


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this one's file.")] = None,
) -> None:
    """List the experiment files that ship, or print one to start from."""
    shipped = experiment_file.presets()
    if name is None:
        for preset in shipped:
            print(f"{preset}: {experiment_file.load(preset).description}")
    elif name in shipped:
        print(shipped[name], end="")
    else:
        from prune_search.errors import unknown

        raise unknown("preset", name, shipped)


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

    folder, _ = _open(storage, name)
    print(wall_overhead(folder))


def _open(storage: str, name: str) -> tuple[StudyFolder, Experiment]:
    from tuners.points import open_study

    return open_study(storage, name)


def _words(folder: StudyFolder) -> str:
    return folder.name + _storage_option(folder)


def _storage_option(folder: StudyFolder) -> str:
    storage = folder.path.parent
    usual = Path(os.environ.get("PRUNE_SEARCH_STORAGE", "studies")).resolve()
    return "" if storage == usual else f" --storage {storage}"


if __name__ == "__main__":
    main()
