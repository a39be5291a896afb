"""The command that measures how much pruning each layer bears by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.errors import TrialError, UserError, check_known, did_you_mean, one_line
from prune_search.experiment import file as experiment_file
from prune_search.plan.axes import names
from prune_search.storage.usual import STUDIES, VARIABLE
from tuners.cli._app import AsJson, Trust, app, check_picture, err, examples, out

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from prune_search.experiment.schema import Experiment
    from prune_search.records.layer_curves import SensitivityPoint, SensitivityRecord
    from prune_search.records.models import BaselineRecord

_OFF = 0.01  # a ratio that is further from the one asked for is told


@app.command(
    epilog=examples(
        "prune-search sensitivity cartpole",
        "prune-search sensitivity mine.yaml --granularity neuron --plot layers.png",
    )
)
def sensitivity(
    source: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT_OR_STUDY",
            help="A study's name (looked for first), a preset's, or a YAML file.",
        ),
    ],
    criterion: Annotated[str, typer.Option(help="Importance score.")] = "magnitude",
    granularity: Annotated[
        str, typer.Option(help="What is removed: weight, neuron, filter, 2:4 or 1:4.")
    ] = "weight",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2, max=100_000, help="Episodes per evaluation; as in the search if absent."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the curves too: .png, .svg, .pdf, .html."),
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Annotated[
        str | None,
        typer.Option(help="Folder of the studies.", envvar=VARIABLE),
    ] = None,
) -> None:
    """Prune each layer of the dense policy alone, and show what the policy keeps of its return.

    Nothing is trained after the pruning. A preset's or file's dense policy is trained first, if
    no study has it yet.
    """
    if plot is not None:
        check_picture(plot)
    settings, folder, baseline = _opened(source, storage, trust)
    check_known("--criterion", criterion, names("criterion"))
    check_known("--granularity", granularity, names("granularity"))
    from prune_search.trial.single_layers import check_measurable

    try:
        check_measurable(granularity, criterion)
    except ValueError as error:
        raise UserError(one_line(error)) from None
    record = _measured(settings, folder, baseline, granularity, criterion, episodes)
    if not record.points:
        raise UserError(
            f"granularity {granularity!r}: no layer of the policy that pruning.layers allows,"
            f" {', '.join(settings.pruning.layers)}, has what it removes"
        )
    if plot is not None:
        _draw(record, plot)
    if as_json:
        ends = {"most_sensitive": record.ranking[0], "least_sensitive": record.ranking[-1]}
        print(json.dumps(record.model_dump() | ends, indent=1))
        return
    out.print(_table(record))
    out.print(record.verdict, highlight=False, markup=False, soft_wrap=True)


def _opened(
    source: str, storage: str | None, trust: bool
) -> tuple[Experiment, Path | None, BaselineRecord | None]:
    """Experiment, the study's folder if it is one's, and the dense policy if there is one."""
    from tuners.catalog.finding import open_study, studies

    root = storage or STUDIES
    if source in studies(root):
        study, settings = open_study(root, source, trust)
        experiment_file.ready(settings)  # its own criteria are among those known
        record = study.study()
        # Its files lie here now, whatever its experiment says.
        settings = settings.model_copy(update={"storage": str(study.path.parent)})
        return settings, study.path, record.baseline if record else None
    known = experiment_file.presets()
    is_file = Path(source).suffix in {".yaml", ".yml"} or "/" in source or os.path.isfile(source)  # noqa: PTH113
    if source not in known and not is_file:
        raise UserError(
            f"experiment or study: unknown {source!r}"
            f"{did_you_mean(source, [*studies(root), *known]) or ';'} studies in {root!r}:"
            f" {', '.join(studies(root)) or 'none'}; presets: {', '.join(known)};"
            " or the path of a YAML file"
        )
    changes = [f"storage={json.dumps(storage)}"] if storage else []
    return experiment_file.load(source, changes, trust), None, None


def _measured(
    settings: Experiment,
    folder: Path | None,
    baseline: BaselineRecord | None,
    granularity: str,
    criterion: str,
    episodes: int | None,
) -> SensitivityRecord:
    from prune_search.experiment.trust import require_trust
    from prune_search.records.places import storage_path
    from prune_search.rllib.running import process_settings
    from prune_search.trial.baseline import baseline_folder
    from prune_search.trial.sensitivity_scan import sensitivity_of
    from tuners.study.capacity import check_room, cluster, trial_resources
    from tuners.study.cluster import connection

    process_settings(settings.resources.threads)
    storage = storage_path(settings.storage)
    require_trust(settings)
    dense = baseline or baseline_folder(storage, settings).record()
    if dense is None:
        from prune_search.trial.preflight import check

        check(settings)
    with connection(settings.resources), _progress() as progress:
        # This process trains; the others need room.
        others = trial_resources(settings).bundles[1:]
        check_room([{}, *others], settings.resources, cluster())
        if dense is None:
            dense = _trained(settings, storage, progress)
        if episodes is None or episodes == settings.evaluation.episodes:
            # A study's trials read the same file; without a study it lies beside the policy.
            kept: Path | None = folder or baseline_folder(storage, settings).path
        else:
            evaluation = settings.evaluation.model_copy(update={"episodes": episodes})
            settings, kept = settings.model_copy(update={"evaluation": evaluation}), None
        task = progress.add_task("building the dense policy", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, description="evaluating", completed=done, total=total)

        try:
            return sensitivity_of(settings, kept, dense, granularity, criterion, report)
        except (ValueError, TrialError) as error:
            raise UserError(f"sensitivity: {one_line(error)}") from None


def _trained(settings: Experiment, storage: Path, progress: Progress) -> BaselineRecord:
    """The dense policy of an experiment that no study has run yet; kept for all that will."""
    from prune_search.trial.baseline import BaselineTrainer

    given = settings.baseline.checkpoint is not None
    text = "measuring your policy" if given else "training the dense policy"
    task = progress.add_task(text, total=None if given else settings.baseline.env_steps)
    trainer = BaselineTrainer(storage, settings)
    while True:
        state = trainer.step()
        progress.update(task, completed=state.env_steps)
        if state.note:
            err.print(state.note, markup=False, highlight=False, soft_wrap=True)
        if state.done:
            break
    record = trainer.finish()
    progress.remove_task(task)
    return record


@contextmanager
def _progress() -> Iterator[Progress]:
    """On a terminal only, and separate from the output."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield progress


def _table(record: SensitivityRecord) -> Table:
    from rich.table import Table

    dense, random = record.dense.value, record.random.value
    table = Table(
        title=f"Retention with one layer pruned: {record.environment},"
        f" {record.granularity}/{record.criterion}",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold underline",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("weights", justify="right")
    asked = [point.asked for point in next(iter(record.points.values()))]
    for ratio in asked:
        table.add_column(f"{ratio:.0%}", justify="right", no_wrap=True)
    for layer, points in record.points.items():
        cells = [_cell(point) for point in points]
        table.add_row(_safe(layer), f"{record.weights[layer]:,}", *cells)
    table.caption = (
        f"dense policy {dense:.4g}, random actions {random:.4g}; {record.episodes} episodes each,"
        " nothing trained"
    )
    if any(_is_off(point) for points in record.points.values() for point in points):
        table.caption += "\nbelow a retention: the ratio reached, where that is another"
    return table


def _is_off(point: SensitivityPoint) -> bool:
    return abs(point.ratio - point.asked) > _OFF


def _cell(point: SensitivityPoint) -> str:
    kept = point.retention
    color = "green" if kept >= 0.95 else "yellow" if kept >= 0.5 else "red"
    reached = f"\n[dim]at {point.ratio:.1%}[/]" if _is_off(point) else ""
    return f"[{color}]{kept:.1%}[/]{reached}"


def _draw(record: SensitivityRecord, path: Path) -> None:
    from tuners.plots.sensitivity import sensitivity_figure, sensitivity_html

    try:
        if path.suffix == ".html":
            path.write_text(sensitivity_html(record), encoding="utf-8")
        else:
            sensitivity_figure(record).savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"--plot: cannot write {str(path)!r}: {error.strerror}") from None


def _safe(text: Any) -> str:
    from rich.markup import escape

    return escape(str(text))
