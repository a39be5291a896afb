"""The command that makes a checkpoint of a policy of another library."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import UserError, near_file
from prune_search.experiment import file as experiment_file
from prune_search.importing.files import check_file
from tuners.cli._app import AsJson, ExperimentName, Overrides, app, busy, examples, out


@app.command(
    "import",
    epilog=examples(
        "prune-search import ppo_cartpole.zip cartpole --to imported",
        "prune-search import ppo.zip mine.yaml --normalizer vecnormalize.pkl --to imported",
        "prune-search import agent.pt mine.yaml --to imported",
        "prune-search run mine.yaml --set baseline.checkpoint=imported --trust-checkpoint",
    ),
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A model of Stable-Baselines3 (.zip), or a state_dict of torch's (.pt).",
        ),
    ],
    experiment: ExperimentName,
    to: Annotated[Path, typer.Option(help="Folder of the checkpoint to write; must not exist.")],
    normalizer: Annotated[
        Path | None,
        typer.Option(help="What VecNormalize.save has written, where observations pass it."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint for baseline.checkpoint of a policy from another library.

    RLlib's network is compared with the policy before it is kept; what does not fit is refused.
    """
    settings = experiment_file.load(experiment, list(overrides or []))
    check_file(file)  # before RLlib is loaded
    if normalizer is not None and not normalizer.is_file():
        raise UserError(f"--normalizer: no file {str(normalizer)!r}{near_file(normalizer)}")
    if to.exists():
        raise UserError(f"--to: {str(to)!r} exists; give another name")
    with busy("reading the policy, and comparing what becomes of it"):
        from prune_search.importing.policies import import_policy
        from prune_search.rllib.running import process_settings
        from tuners.study.cluster import connection

        process_settings(settings.resources.threads)
        with connection(settings.resources):
            found = import_policy(file, settings, to, normalizer=normalizer)
    if as_json:
        print(json.dumps({**asdict(found), "checkpoint": str(found.checkpoint)}, indent=1))
        return
    lines = [
        f"{file}, {found.source}: {found.checkpoint}, {found.parameters:,} parameters",
        f"outputs for {found.observations:,} observations differ by at most"
        f" {found.difference:.1e}, relative to the largest",
        *(f"note: {note}" for note in found.notes),
        f"prune it by baseline.checkpoint={found.checkpoint} and --trust-checkpoint",
    ]
    for line in lines:
        out.print(line, soft_wrap=True, highlight=False, markup=False)
