"""The command that puts a point into MLflow's model registry."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.storage.usual import STUDIES
from tuners.cli._app import AsJson, Name, Storage, Trust, app, busy, examples, opened, out
from tuners.cli.exports import (
    Anyway,
    MaxBytes,
    MinRetention,
    Modules,
    Observations,
    WishedPoint,
    check_wish,
    export_json,
    export_lines,
    import_modules,
)

if TYPE_CHECKING:
    from tuners.study.policies.registering import Registered


@app.command(
    epilog=examples(
        "prune-search register cartpole t03/2",
        "prune-search register cartpole t03/2 --as pole-balancer --to packed",
        "prune-search register cartpole --min-retention 0.95 --max-bytes 2048",
    )
)
def register(
    name: Name,
    point: WishedPoint = None,
    model: Annotated[
        str | None, typer.Option("--as", help="The registered model's name; the study's if absent.")
    ] = None,
    to: Annotated[str, typer.Option(help="onnx, onnx-int8, packed.")] = "onnx",
    min_retention: MinRetention = None,
    max_bytes: MaxBytes = None,
    anyway: Anyway = False,
    observations: Observations = 10_000,
    module: Modules = None,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Storage = STUDIES,
) -> None:
    """Export a point, measure the file, and put it into MLflow's model registry.

    It becomes the model's next version, a pyfunc that serves without Ray and without this package.
    """
    folder, settings = opened(storage, name, trust)
    check_wish(point, min_retention)
    import_modules(module)
    with busy("exporting, measuring and registering"):
        from prune_search.rllib.running import process_settings
        from tuners.study.policies.registering import register as register_point

        process_settings(settings.resources.threads)
        found = register_point(
            folder,
            settings,
            point,
            model,
            to,
            min_retention=min_retention,
            max_bytes=max_bytes,
            observations=observations,
            anyway=anyway,
        )
    if as_json:
        print(json.dumps({"study": name, **_json(found)}, indent=1))
        return
    for line in _lines(name, found):
        out.print(line, soft_wrap=True, highlight=False, markup=False)


def _json(found: Registered) -> dict[str, Any]:
    plain = found.model_dump(mode="json", exclude={"export"})
    return {**plain, "uri": found.uri, **export_json(found.export), "path": None}


def _lines(study: str, found: Registered) -> list[str]:
    where = f"version {found.version} of {found.model!r} in MLflow at {found.place}"
    run = f"an output of run {found.run}" if found.run else "its trial has no run there"
    served = f"mlflow models serve -m {shlex.quote(found.uri)} --env-manager local"
    return [
        *export_lines(study, found.point, found.export, where),
        f"{run}; to serve it:",
        f"MLFLOW_TRACKING_URI={shlex.quote(found.place)} {served}",
    ]
