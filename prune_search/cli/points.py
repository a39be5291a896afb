"""Commands on single points of a study: evaluate, restore."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from prune_search.cli._app import AsJson, Name, PointName, Storage, app, opened, out
from prune_search.errors import UserError


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

    folder, settings = opened(storage, name)
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

    folder, _ = opened(storage, name)
    path = checkpoint(folder, point)
    target = to or Path(f"{name}-{point.replace('/', '-')}")
    if target.exists():
        raise UserError(f"--to: {str(target)!r} exists; give another folder")
    shutil.copytree(path, target)
    out.print(f"{point} is in {target}: Algorithm.from_checkpoint({str(target.resolve())!r})")
