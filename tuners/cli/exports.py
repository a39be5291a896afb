"""The command that writes a policy as a file for elsewhere, and what evaluates such files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.errors import UserError
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    AsJson,
    Name,
    Storage,
    Trust,
    app,
    busy,
    complete_point,
    examples,
    opened,
    out,
)

if TYPE_CHECKING:
    from prune_search.export.exporting import Export

Modules = Annotated[
    list[str] | None,
    typer.Option("--module", help="Python module that registers targets; may be repeated."),
]
WishedPoint = Annotated[
    str | None,
    typer.Argument(
        metavar="[POINT]",
        help="A point, such as t03/2, or 'baseline'; by wish if absent.",
        autocompletion=complete_point,
        show_default=False,
    ),
]
MinRetention = Annotated[
    float | None,
    typer.Option(help="Without POINT: what it keeps at least; the study's if absent."),
]
MaxBytes = Annotated[
    int | None, typer.Option(min=1, help="What the file or folder may have at most.")
]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Keep it even if it returns less than the point.")
]
Observations = Annotated[
    int, typer.Option(min=1, help="For how many its actions are compared with RLlib's.")
]


@app.command(
    epilog=examples(
        "prune-search export cartpole t03/2 --to onnx",
        "prune-search export cartpole t03/2 --to c --out robot/policy",
        "prune-search export cartpole --to c --min-retention 0.95 --max-bytes 20000",
        "prune-search export cartpole t03/2 --to c --levels 90,95 --env-steps 50000",
    )
)
def export(
    name: Name,
    point: WishedPoint = None,
    to: Annotated[
        str,
        typer.Option(
            help="torch, onnx, onnx-int8, c, c-int8, web, litert, packed, rllib, or your own."
        ),
    ] = "onnx",
    path: Annotated[
        Path | None, typer.Option("--out", help="File or folder to write; must not exist.")
    ] = None,
    min_retention: MinRetention = None,
    max_bytes: MaxBytes = None,
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT,...",
            help="Sparser levels of the same weights, to choose among at run time: c, packed.",
        ),
    ] = None,
    env_steps: Annotated[
        int | None, typer.Option(min=1, help="Train the levels together for so many.")
    ] = None,
    anyway: Anyway = False,
    observations: Observations = 10_000,
    module: Modules = None,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Storage = STUDIES,
) -> None:
    """Write a point's policy as a file that runs without RLlib, and measure that file.

    Without POINT it is the smallest one of the front that keeps to the wish.
    """
    folder, settings = opened(storage, name, trust)
    check_wish(point, min_retention)
    sparsities = _sparsities(levels)
    import_modules(module)
    with busy("exporting, and measuring what was written"):
        from prune_search.rllib.running import process_settings
        from tuners.study.policies.exports import export_chosen

        process_settings(settings.resources.threads)
        point, found = export_chosen(
            folder,
            settings,
            point,
            to,
            path and path.expanduser(),
            min_retention=min_retention,
            max_bytes=max_bytes,
            observations=observations,
            anyway=anyway,
            levels=sparsities,
            env_steps=env_steps,
        )
    if as_json:
        print(json.dumps({"study": name, "point": point, **export_json(found)}, indent=1))
    else:
        for line in export_lines(name, point, found, str(found.path)):
            out.print(line, soft_wrap=True, highlight=False, markup=False)


def evaluate_file(
    path: Path,
    *,
    episodes: int | None,
    seed: int | None,
    modules: list[str] | None,
    as_json: bool,
    level: int | None = None,
) -> None:
    """Measures the return of an artifact in the environment that it names, and prints it."""
    import_modules(modules)
    from prune_search.artifacts.base import stored_bytes
    from prune_search.export.measuring import measured_again
    from prune_search.export.targets import open_artifact
    from prune_search.rllib.running import process_settings

    process_settings(1)
    artifact = open_artifact(path)
    if level is not None:
        artifact.set_level(level)
    returned = measured_again(artifact, seed, episodes)
    card, how = artifact.card, artifact.card.measurement
    kept = how.retention(returned.value) if how else None
    levels = card.levels
    result: dict[str, Any] = {
        "file": str(path),
        "policy": card.name,
        "target": card.target,
        "bytes": stored_bytes(path),
        "parameters": card.parameters,
        "nonzero": card.nonzero if level is None else levels[level].nonzero,
        **({} if level is None else {"level": level, "sparsity": levels[level].sparsity}),
        "return": returned.value,
        "low": returned.low,
        "high": returned.high,
        "retention": kept,
        "episodes": returned.episodes,
    }
    if as_json:
        print(json.dumps(result, indent=1))
        return
    out.print(
        f"{path}: {card.name} as {card.target}, {result['bytes']:,} bytes,"
        + (f" level {level}," if level is not None else "")
        + f" return"
        f" {returned.value:.2f} [{returned.low:.2f}, {returned.high:.2f}] over"
        f" {returned.episodes} episodes" + ("" if kept is None else f", retention {kept:.1%}"),
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _sparsities(levels: str | None) -> list[float]:
    """What --levels names, in (0, 1)."""
    try:
        return [float(one) / 100 for one in levels.split(",")] if levels else []
    except ValueError:
        raise UserError(f"--levels: must be percentages, such as 90,95, got {levels!r}") from None


def _level_lines(found: Export) -> list[str]:
    """The levels of an artifact, each with its return, and what they take."""
    lines = []
    for number, level in enumerate(found.levels):
        said = f"level {number}: sparsity {level.sparsity:.1%}, {level.nonzero:,} are not zero"
        on, final = level.returned, level.final
        if on is not None and final is not None:
            said += (
                f", return {on.value:.2f} [{on.low:.2f}, {on.high:.2f}], on the final seeds"
                f" {final.value:.2f} [{final.low:.2f}, {final.high:.2f}]"
            )
        lines.append(said)
    if found.separate is not None:
        apart = found.separate
        flash = "" if apart.constants is None else f", {apart.constants:,} of constants in flash"
        lines.append(
            f"a file for each of the {len(lines)} levels would take {apart.bytes:,} bytes{flash}"
        )
    return lines


def check_wish(point: str | None, min_retention: float | None) -> None:
    """Raises UserError where a point is both named and wished for."""
    if point is not None and min_retention is not None:
        raise UserError("--min-retention: it chooses a point, and POINT is given; leave one out")


def import_modules(modules: list[str] | None) -> None:
    """Imports what registers targets."""
    from prune_search.experiment.extensions import import_extensions

    import_extensions(modules or [])


def export_json(found: Export) -> dict[str, Any]:
    """The same as JSON."""
    plain: dict[str, Any] = found.model_dump(mode="json", exclude={"returned"})
    returned = found.returned
    measured = returned and {
        "value": returned.value,
        "low": returned.low,
        "high": returned.high,
        "episodes": returned.episodes,
    }
    return {**plain, "returned": measured, "lost": found.lost}


def export_lines(study: str, point: str, found: Export, where: str) -> list[str]:
    """What a person wants to know of an artifact, and where it is."""
    lines = [
        f"{study} {point} as {found.target}: {where}, {found.bytes:,} bytes,"
        f" {found.nonzero:,} of {found.parameters:,} parameters are not zero"
        + (
            f"; {found.deviations:,} more give deviations, which greedy actions don't read"
            if found.deviations
            else ""
        )
    ]
    if found.returned is not None:
        wanted = found.wanted
        policys = (
            f"; in RLlib {wanted.value:.2f} [{wanted.low:.2f}, {wanted.high:.2f}]" if wanted else ""
        )
        lines.append(
            f"return {found.returned.value:.2f} [{found.returned.low:.2f},"
            f" {found.returned.high:.2f}] over {found.returned.episodes} episodes{policys}"
        )
    agreed = found.agreement
    whose = "the description, for the same noise" if agreed.with_noise else "RLlib"
    lines.append(f"actions for {agreed.count:,} observations: {agreed.words(whose)}")
    dense = found.dense_latency_us
    lines.append(
        f"one action takes {found.latency_us.median:.2f} µs (99 % at most"
        f" {found.latency_us.p99:.2f})"
        + (f"; the dense policy in torch {dense.median:.2f} ({dense.p99:.2f})" if dense else "")
    )
    if found.figures:
        sizes = ", ".join(f"{name} {size:,}" for name, size in found.figures.items())
        lines.append(f"bytes on a device: {sizes}")
    lines += _level_lines(found)
    return lines + [f"note: {note}" for note in found.notes]
