"""Commands on single points of a study: evaluate, restore, compact."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from prune_search.errors import UserError, one_line
from tuners.cli._app import (
    AsJson,
    Name,
    PointName,
    Storage,
    Trust,
    app,
    examples,
    opened,
    out,
)

To = Annotated[Path | None, typer.Option(help="Folder to write; must not exist.")]


@app.command(epilog=examples("prune-search evaluate cartpole t03/2 --episodes 200 --seed 7"))
def evaluate(
    name: Name,
    point: PointName,
    episodes: Annotated[
        int | None,
        typer.Option(min=2, max=100_000, help="Episodes; as many as in the search if absent."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=9_999, help="Evaluation seed; the search's own if absent."),
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Storage = "studies",
) -> None:
    """Load a point's checkpoint, count its sparsity and measure its return again."""
    from tuners.catalog.finding import checkpoint

    folder, settings = opened(storage, name, trust)
    path = checkpoint(folder, point)
    from rich.markup import escape

    from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
    from tuners.report.as_json import returned_json
    from tuners.report.phrases import tail

    episodes = episodes or settings.evaluation.episodes
    seed = settings.evaluation.seed if seed is None else seed
    measured = CheckpointMeter(settings, folder.path.parent).measure(path, seed, episodes)
    size, returned = measured.size, measured.returned
    study = folder.study()
    baseline = study.baseline if study else None
    bound = baseline.return_at(settings.evaluation.holds_at) if baseline else None
    worst, held = tail(returned, bound)
    # Units that were taken out count as zeros of the baseline's network.
    whole = baseline.parameters if baseline else size.parameters
    kernels = baseline.weights if baseline else size.weights
    sparsity, weight_sparsity = 1 - size.nonzero / whole, 1 - size.weights_nonzero / kernels
    result: dict[str, Any] = {
        "study": name,
        "point": point,
        "sparsity": sparsity,
        "weight_sparsity": weight_sparsity,
        "parameters": whole,
        "physical": size.parameters,
        "nonzero": size.nonzero,
        **returned_json(returned, bound),
        "retention": baseline.retention(returned.value) if baseline else None,
        "episodes": episodes,
        "seed": seed,
        "checkpoint": str(path),
    }
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        out.print(
            f"{point}: sparsity {sparsity:.4f} ({size.nonzero:,} of {whole:,}"
            f" parameters), weight sparsity {weight_sparsity:.4f}, return {returned.value:.2f}"
            f" \\[{returned.low:.2f}, {returned.high:.2f}] over {episodes} episodes of seed {seed},"
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
    storage: Storage = "studies",
) -> None:
    """Write a point, or the dense baseline, as a separate RLlib checkpoint."""
    from tuners.catalog.finding import checkpoint

    folder, _ = opened(storage, name)
    path = checkpoint(folder, point)
    target = _target(to, f"{name}-{point}{'-dense' if dense else ''}")
    if dense and point == "baseline":
        raise UserError("--dense: the baseline is dense; give a point, such as t03/2")
    from prune_search.records.policy_files import WEIGHTS, file_bytes, stored_bytes

    stored = stored_bytes(path)
    if not dense:
        with _writing(target):
            shutil.copytree(path, target)
        _say(f"{point} is in {target}: Algorithm.from_checkpoint({str(target.resolve())!r})")
        study = folder.study()
        baseline = study.baseline if study and point != "baseline" else None
        whole = stored_bytes(Path(baseline.checkpoint)) if baseline else 0
        before = f"{whole:,} bytes of the dense baseline -> " if whole else ""
        _say(f"{WEIGHTS}: {before}{stored:,} bytes, including zeros and any critic")
        return
    from prune_search.export.rllib import laid_back, save

    modules = laid_back(path, checkpoint(folder, "baseline"))
    with _writing(target):
        save(modules, target)
    _say_where(point, target, list(modules))
    _say(f"{WEIGHTS}: {stored:,} bytes -> {file_bytes(target):,} bytes, in the dense shape")


@app.command(epilog=examples("prune-search compact cartpole t03/2 --to compacted"))
def compact(
    name: Name,
    point: PointName,
    to: To = None,
    storage: Storage = "studies",
) -> None:
    """Write a point's policy without the units that zeros have made superfluous.

    The network computes the same; it opens with RLModule.from_checkpoint.
    """
    from prune_search.records.policy_files import WEIGHTS, file_bytes, stored_bytes
    from tuners.catalog.finding import checkpoint

    folder, _ = opened(storage, name)
    path = checkpoint(folder, point)
    target = _target(to, f"{name}-{point}-compact")
    from prune_search.export.rllib import compacted, save

    found = compacted(path)
    with _writing(target):
        save({module_id: result.module for module_id, result in found.items()}, target)
    for module_id, result in found.items():
        _say(
            f"{module_id}: {result.parameters:,} parameters ({result.nonzero:,} non-zero) ->"
            f" {result.left:,} ({result.left_nonzero:,} non-zero); outputs differ by at most"
            f" {result.error:.0e} of the largest"
        )
    _say_where(point, target, list(found))
    _say(
        f"{WEIGHTS}: {stored_bytes(path):,} bytes, including zeros and any critic ->"
        f" {file_bytes(target):,} bytes of the network that acts"
    )


def _target(to: Path | None, default: str) -> Path:
    target = to or Path(default.replace("/", "-"))
    if target.exists():
        raise UserError(f"--to: {str(target)!r} exists; give another folder")
    return target


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # shutil's is one
        raise UserError(f"--to: cannot write {str(target)!r}: {one_line(error)}") from None


def _say_where(point: str, target: Path, module_ids: list[str]) -> None:
    places = ", ".join(
        f"RLModule.from_checkpoint({str((target / name).resolve())!r})" for name in module_ids
    )
    _say(f"{point} is in {target}: {places}")


def _say(text: str) -> None:
    out.print(text, soft_wrap=True, highlight=False, markup=False)
