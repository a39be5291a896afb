"""Commands on single points of a study: evaluate, restore, compact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.errors import UserError
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    AsJson,
    Name,
    PointName,
    Storage,
    Trust,
    app,
    complete_name,
    complete_point,
    examples,
    opened,
    out,
)
from tuners.cli.exports import Modules, evaluate_file

if TYPE_CHECKING:
    from tuners.study.handle import Study

To = Annotated[Path | None, typer.Option(help="Folder to write; must not exist.")]


@app.command(
    epilog=examples(
        "prune-search evaluate cartpole t03/2 --episodes 200 --seed 7",
        "prune-search evaluate policy.onnx",
    )
)
def evaluate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="The study's name; or a file or folder that `prune-search export` wrote.",
            autocompletion=complete_name,
        ),
    ],
    point: Annotated[
        str | None,
        typer.Argument(
            metavar="POINT",
            help="A point, such as t03/2, or 'baseline'; none for a file.",
            autocompletion=complete_point,
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(min=2, max=100_000, help="Episodes; as many as in the search if absent."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=9_999, help="Evaluation seed; the search's own if absent."),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(min=0, help="Of a file with levels, 0 the sparsest; the densest if absent."),
    ] = None,
    under: Annotated[
        str | None,
        typer.Option(
            metavar="CHANGES",
            help="Make the task harder meanwhile: noise=0.1, sticky=0.25, delay=1,"
            " physics.ATTRIBUTE=FACTOR, config.ARGUMENT=VALUE, joined by commas.",
            show_default=False,
        ),
    ] = None,
    module: Modules = None,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Storage = STUDIES,
) -> None:
    """Load a point's checkpoint, count its sparsity and measure its return again.

    Of a file that was exported, the file itself is measured, in the environment that it names.
    """
    if point is None:
        from tuners.catalog.finding import studies

        if not Path(name).exists() and name in studies(storage):
            raise UserError("missing argument 'POINT': such as t03/2, or 'baseline'")
        if under is not None:
            raise UserError("--under: of a study's points alone; POINT is missing")
        evaluate_file(
            Path(name),
            episodes=episodes,
            seed=seed,
            modules=module,
            as_json=as_json,
            level=level,
        )
        return
    if level is not None:
        raise UserError("--level: only files have levels, and POINT is given; leave one out")
    study = _study(storage, name, trust)
    policy = study.stored(point)
    from rich.markup import escape

    from tuners.report.as_json import returned_json
    from tuners.report.phrases import tail

    found = policy.measure(episodes, seed, under)
    size, returned, baseline = found.size, found.returned, found.baseline
    bound = baseline.return_at(study.experiment.evaluation.holds_at) if baseline else None
    worst, held = tail(returned, bound)
    result: dict[str, Any] = {
        "study": name,
        "point": point,
        "sparsity": found.sparsity,
        "weight_sparsity": found.weight_sparsity,
        "parameters": found.parameters,
        "physical": size.parameters,
        "nonzero": size.nonzero,
        **returned_json(returned, bound),
        "retention": found.retention,
        "episodes": found.episodes,
        "seed": found.seed,
        "under": under,
        "checkpoint": str(policy.checkpoint),
    }
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        out.print(
            f"{point}: sparsity {found.sparsity:.4f} ({size.nonzero:,} of {found.parameters:,}"
            f" parameters), weight sparsity {found.weight_sparsity:.4f}, return"
            f" {returned.value:.2f} \\[{returned.low:.2f}, {returned.high:.2f}] over"
            f" {found.episodes} episodes of seed {found.seed}"
            f"{f' under {escape(under)}' if under else ''},"
            f" worst tenth {worst}{f', {escape(held)} hold' if held else ''}",
            highlight=False,
        )


@app.command(
    epilog=examples(
        "prune-search restore cartpole t03/2 --to small", "prune-search restore cartpole baseline"
    )
)
def restore(
    name: Name,
    point: PointName,
    to: To = None,
    dense: Annotated[
        bool, typer.Option("--dense", help="Lay the point's networks back into the dense shape.")
    ] = False,
    storage: Storage = STUDIES,
) -> None:
    """Write a point, or the dense baseline, as a separate RLlib checkpoint."""
    study = _study(storage, name)
    policy = study.stored(point)
    target = _target(to, f"{name}-{point}{'-dense' if dense else ''}")
    if dense and point == "baseline":
        raise UserError("--dense: the baseline is dense; give a point, such as t03/2")
    from prune_search.records.policy_files import WEIGHTS, file_bytes, stored_bytes

    stored = stored_bytes(policy.checkpoint)
    if not dense:
        with _named():
            policy.restore(target)
        _say(f"{point} is in {target}: Algorithm.from_checkpoint({str(target.resolve())!r})")
        baseline = study.baseline if point != "baseline" else None
        whole = stored_bytes(Path(baseline.checkpoint)) if baseline else 0
        before = f"{whole:,} bytes of the dense baseline -> " if whole else ""
        _say(f"{WEIGHTS}: {before}{stored:,} bytes, including zeros and any critic")
        return
    from tuners.study.policies.stored import save

    modules = policy.laid_back()
    with _named():
        save(modules, target)
    _say_where(point, target, list(modules))
    _say(f"{WEIGHTS}: {stored:,} bytes -> {file_bytes(target):,} bytes, in the dense shape")


@app.command(epilog=examples("prune-search compact cartpole t03/2 --to compacted"))
def compact(
    name: Name,
    point: PointName,
    to: To = None,
    storage: Storage = STUDIES,
) -> None:
    """Write a point's policy without the units that zeros have made superfluous.

    The network computes the same; it opens with RLModule.from_checkpoint.
    """
    from prune_search.records.policy_files import WEIGHTS, file_bytes, stored_bytes

    policy = _study(storage, name).stored(point)
    target = _target(to, f"{name}-{point}-compact")
    from tuners.study.policies.stored import save

    found = policy.compacted()
    with _named():
        save({module_id: result.module for module_id, result in found.items()}, target)
    for module_id, result in found.items():
        _say(
            f"{module_id}: {result.parameters:,} parameters ({result.nonzero:,} non-zero) ->"
            f" {result.left:,} ({result.left_nonzero:,} non-zero); outputs differ by at most"
            f" {result.error:.0e} of the largest"
        )
    _say_where(point, target, list(found))
    _say(
        f"{WEIGHTS}: {stored_bytes(policy.checkpoint):,} bytes, including zeros and any critic ->"
        f" {file_bytes(target):,} bytes of the network that acts"
    )


def _study(storage: str, name: str, trust: bool = False) -> Study:
    from tuners.study.handle import Study

    return Study(*opened(storage, name, trust))


def _target(to: Path | None, default: str) -> Path:
    from tuners.study.policies.stored import new_folder

    with _named():
        return new_folder(to or default.replace("/", "-"))


@contextmanager
def _named() -> Iterator[None]:
    """Errors name the option that the argument `to` is given by."""
    try:
        yield
    except UserError as error:
        message = str(error)
        raise UserError(f"--{message}" if message.startswith("to: ") else message) from None


def _say_where(point: str, target: Path, module_ids: list[str]) -> None:
    places = ", ".join(
        f"RLModule.from_checkpoint({str((target / name).resolve())!r})" for name in module_ids
    )
    _say(f"{point} is in {target}: {places}")


def _say(text: str) -> None:
    out.print(text, soft_wrap=True, highlight=False, markup=False)
