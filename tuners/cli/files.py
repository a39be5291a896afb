"""Commands about experiment files: schema, presets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from prune_search.experiment import file as experiment_file
from tuners.cli._app import app


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON Schema.")] = False,
) -> None:
    """Print every field of an experiment file, with its default and help."""
    from prune_search.experiment.schema import Experiment

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
