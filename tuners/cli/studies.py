"""Commands on whole studies: run, resume, list, show, report, ui."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_search.credentials import holds_credentials
from prune_search.errors import NoBetterThanRandom, UserError
from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder
from prune_search.records.places import is_name, storage_path
from prune_search.storage.usual import STUDIES, VARIABLE
from tuners.catalog.finding import check_free
from tuners.cli._app import (
    BEGAN,
    Address,
    AsJson,
    ExperimentName,
    Name,
    Overrides,
    Quiet,
    Storage,
    Trust,
    app,
    busy,
    check_picture,
    check_writable,
    complete_name,
    err,
    examples,
    opened,
    out,
    writing,
)
from tuners.commands import command, storage_option
from tuners.signals import sigterm_interrupts

if TYPE_CHECKING:
    from prune_search.experiment.schema import Experiment
    from tuners.display.live import Progress
    from tuners.report.study_report import StudyReport
    from tuners.tracking.projector import TrackerReport


@app.command(
    epilog=examples(
        "prune-search run cartpole",
        "prune-search run mine.yaml --name first --set search.trials=40",
        "prune-search run acrobot --set 'pruning.granularity=[weight, neuron]'",
        "prune-search run mine.yaml --address auto",
    )
)
def run(
    experiment: ExperimentName,
    name: Annotated[
        str | None, typer.Option(help="The study's name; the experiment's if absent.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
    trust: Trust = False,
    storage: Annotated[
        str | None,
        typer.Option(help="Folder of the studies.", envvar=VARIABLE),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a dense policy, search how to prune it, and show the front."""
    changes = list(overrides or [])
    changes += [f"resources.address={json.dumps(address)}"] if address else []
    changes += [f"storage={json.dumps(storage)}"] if storage else []
    settings = experiment_file.load(experiment, changes, trust)
    from tuners.study.capacity import check_gpus

    stem = Path(experiment).stem
    asked = StudyFolder(settings.storage, stem if name is None else name)
    if name is not None:  # before anything is shown, and what takes seconds is loaded
        check_free(asked)
    with _shown(settings, name or stem, quiet) as progress:
        check_gpus(settings.resources)
        from tuners.study.creation import create  # takes seconds, with something to be seen

        folder = create(settings, name, stem)
        progress.found(folder)
        try:
            _run(folder, settings, progress, quiet)
        except UserError as error:
            # Where nothing was computed, the name stays free.
            if not folder.trials() and not isinstance(error, NoBetterThanRandom):
                shutil.rmtree(folder.path)
            raise


@app.command(epilog=examples("prune-search resume cartpole"))
def resume(
    name: Name,
    address: Address = None,
    trust: Trust = False,
    storage: Storage = STUDIES,
    mirror: Annotated[
        str | None, typer.Option(help="Fetch the study from this mirror first, if it is not here.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Continue a study that was stopped or killed; repeats at most the round in progress."""
    if mirror and not (storage_path(storage) / name).exists():
        if not trust:
            raise UserError(
                "--mirror: the checkpoints there are pickles, which run their author's code; if you"
                " trust them, add --trust-checkpoint"
            )
        from tuners.study.creation import fetch_study

        fetch_study(storage, name, mirror)
    folder, settings = opened(storage, name, trust)
    if address:
        if "@" in address:
            raise UserError("--address: must be an address without user, password or token")
        resources = settings.resources.model_copy(update={"address": address})
        settings = settings.model_copy(update={"resources": resources})
    with _shown(settings, folder.name, quiet) as progress:
        progress.found(folder)
        _run(folder, settings, progress, quiet)


@contextmanager
def _shown(settings: Experiment, name: str, quiet: bool) -> Iterator[Progress]:
    """Shows from the first second what is going on; if it is stopped, it ends with one line."""
    from tuners.display.live import Progress

    try:
        with sigterm_interrupts(), Progress(settings, name, [], out, quiet) as progress:
            yield progress
    except KeyboardInterrupt:  # no study has been begun yet
        err.print("stopped")
        sys.exit(130)


def _run(folder: StudyFolder, settings: Experiment, progress: Progress, quiet: bool) -> None:
    try:
        from tuners.study.driver import run as run_study

        tracked = run_study(folder, settings, progress, BEGAN)
    except KeyboardInterrupt:
        again = command("resume", folder.path)
        err.print(f"stopped; resume it with: {again}", soft_wrap=True, markup=False)
        sys.stdout.flush()
        os._exit(130)  # what Ray does at the exit of Python waits for what may be dead
    if not quiet:
        _tell(folder, settings, tracked)
    trials = folder.trials()
    if trials and all(trial.state == "failed" for trial in trials):
        which = "its one trial" if len(trials) == 1 else f"all {len(trials)} trials"
        err.print(f"{which} failed: {trials[-1].reason}", markup=False)
        sys.exit(1)


def _tell(folder: StudyFolder, settings: Experiment, tracked: TrackerReport) -> None:
    """The study's tables, where to see more of it, and what to take of it."""
    from tuners.display.tables import show as show_report
    from tuners.report.study_report import report

    found, where = report(folder, settings), tracked.where
    show_report(found, out)
    if tracked.pending:
        out.print(
            f"Not all of it is shown yet ({tracked.problem}); bring it up to date with:"
            f" {command('resume', folder.path)}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    own = settings.tracking.to == "mlflow" and not (settings.tracking.uri or "").startswith("http")
    if own:
        serve = f"prune-search ui{storage_option(folder.path.parent)}"
        out.print(f"MLflow UI: {serve}", highlight=False, soft_wrap=True, markup=False)
    for label, url in (("runs", where.runs_url), ("compare", where.compare_url)):
        if url:
            out.print(f"{label}: {url}", soft_wrap=True, highlight=False, markup=False)
    _lead_on(found)


def _lead_on(found: StudyReport) -> None:
    """The point to take, and the commands that take it."""
    from tuners.report.recommendation import lines

    for line in lines(found):
        # A command stays whole, to be pasted; on a terminal, words don't leave it.
        whole = "prune-search " in line or not out.is_terminal
        out.print(line, soft_wrap=whole, highlight=False, markup=False)


@app.command("list")
def list_studies(as_json: AsJson = False, storage: Storage = STUDIES) -> None:
    """List the studies: what each is doing, how far it has come, and its best point."""
    with busy("reading the studies"):  # what it imports takes seconds
        from tuners.report.listing import listed, table

        found, wrong = listed(storage)
    for line in wrong:  # the others are there all the same
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(found, indent=1))
    elif found:
        out.print(table(found))
    elif not wrong:
        begin = "start one with: prune-search run noisy-cartpole"
        out.print(f"no studies in {storage}; {begin}", highlight=False, soft_wrap=True)


@app.command(
    epilog=examples(
        "prune-search show cartpole",
        "prune-search show cartpole --plot front.png",
        "prune-search show cartpole --json | jq '.front[] | {point, sparsity, return}'",
        "prune-search show cartpole.html",
    )
)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="The study's name; or a file that `prune-search report` wrote.",
            autocompletion=complete_name,
        ),
    ],
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the front as a picture: .png, .svg, .pdf, .html."),
    ] = None,
    storage: Storage = STUDIES,
) -> None:
    """Show a study: baseline, trials, front, hypervolume; also while it runs."""
    if plot is not None:
        check_picture(plot)
    with busy("reading the study"):  # what it imports takes seconds
        from tuners.display.tables import renderables
        from tuners.report.as_json import to_json

        found = _found(storage, name)
        parts = [] if as_json or plot else renderables(found, out.width)
    if plot is not None:
        _draw(found, plot)
    elif as_json:
        print(json.dumps(to_json(found), indent=1))
    else:
        for part in parts:
            out.print(part)
        _lead_on(found)


def _found(storage: str, name: str) -> StudyReport:
    """What a study has found, or had when a file was made, if that is named and no study is."""
    file = Path(name).expanduser()
    there = is_name(name) and StudyFolder(storage, name).experiment_file.is_file()
    if file.suffix == ".html" and not there:
        if not file.is_file():
            raise UserError(f"name: no file {name!r}, and no study of this name in {storage}")
        from tuners.page.embedding import read
        from tuners.page.held import report_of_held

        return report_of_held(read(file))
    from tuners.report.study_report import report

    return report(*opened(storage, name))


@app.command(
    epilog=examples(
        "prune-search report cartpole",
        "prune-search report cartpole --lang zh --out cartpole-zh.html",
        "prune-search show cartpole.html",
    )
)
def report(
    name: Name,
    path: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file; NAME.html if absent. Is replaced."),
    ] = None,
    language: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    storage: Storage = STUDIES,
) -> None:
    """Write what a study found as one HTML file, which opens without a network."""
    with busy("reading the study"):  # what it imports takes seconds
        from tuners.page.page import write
        from tuners.page.words import words
        from tuners.report.study_report import report as report_of

        words(language)  # are there
        folder, settings = opened(storage, name)
        target = path or Path(f"{folder.name}.html")
        if target.suffix != ".html":
            raise UserError(f"--out: must end in .html, got {str(target)!r}")
        check_writable("--out", target)
        with writing("--out", target):
            size = write(report_of(folder, settings), folder, target, language)
    out.print(f"wrote {target}: {size:,} bytes", markup=False, highlight=False, soft_wrap=True)


def _draw(found: StudyReport, path: Path) -> None:
    from tuners.plots.front import study_figure, study_html

    if found.baseline is None:
        raise UserError(f"--plot: study {found.name!r} has no baseline yet")
    with writing("--plot", path):
        if path.suffix == ".html":
            path.write_text(study_html(found), encoding="utf-8")
        else:
            study_figure(found).savefig(path, dpi=110)


@app.command(epilog=examples("prune-search ui", "prune-search ui --port 5001"))
def ui(
    storage: Storage = STUDIES,
    uri: Annotated[str | None, typer.Option(help="Tracking URI; the storage's if absent.")] = None,
    experiment: Annotated[str, typer.Option(help="MLflow's experiment.")] = "prune-search",
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve MLflow's pages on the studies, and print their address."""
    from tuners.tracking.mlflow.server import ui as serve
    from tuners.tracking.mlflow.tracking import default_uri

    if uri and holds_credentials(uri):
        raise UserError(
            "--uri: must be an address without user, password or token; set"
            " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    serve(uri or default_uri(Path(storage)), experiment, host, port)
