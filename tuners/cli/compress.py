"""The command that compresses a point into a packed file, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.errors import check_known
from prune_search.packed import BITS, METHOD
from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    AsJson,
    Name,
    PointName,
    Storage,
    Trust,
    app,
    busy,
    examples,
    opened,
    out,
)

if TYPE_CHECKING:
    from tuners.study.compressing import Compressed


@app.command(
    epilog=examples(
        "prune-search compress cartpole t03/2 --bits 4",
        "prune-search compress cartpole t03/2 --method uniform --bits 8 --out small.packed",
    )
)
def compress(
    name: Name,
    point: PointName,
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a weight.")] = BITS,
    method: Annotated[
        str, typer.Option(help="sharing, network_sharing, uniform, or one of your own.")
    ] = METHOD,
    path: Annotated[
        Path | None, typer.Option("--out", help="File to write; must not exist.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Keep it even if it returns less than the point.")
    ] = False,
    as_json: AsJson = False,
    trust: Trust = False,
    storage: Storage = STUDIES,
) -> None:
    """Quantize a point's weights, pack them into one file, and measure that file.

    What pruning, quantization and coding leave is said apart.
    """
    from prune_search.compression.methods import METHODS

    folder, settings = opened(storage, name, trust)
    check_known("--method", method, METHODS)
    with busy("packing, and measuring what was written"):
        from prune_search.rllib.running import process_settings
        from tuners.study.compressing import compressed

        process_settings(settings.resources.threads)
        found = compressed(folder, settings, point, method, bits, path=path, anyway=anyway)
    if as_json:
        print(json.dumps({"study": name, "point": point, **_json(found)}, indent=1))
        return
    for line in _lines(name, point, found):
        out.print(line, soft_wrap=True, highlight=False, markup=False)


def _json(found: Compressed) -> dict[str, Any]:
    returned, left = found.export.returned, found.stages
    return {
        "file": str(found.export.path),
        "method": found.method,
        "bits": found.bits,
        "dense_bytes": found.dense,
        "pruned_bytes": left.pruned,
        "quantized_bytes": left.quantized,
        "coded_bytes": left.coded,
        "entropy_bytes": left.entropy,
        "bytes": found.export.bytes,
        "ratio": found.ratio,
        "return": returned and returned.value,
        "low": returned and returned.low,
        "high": returned and returned.high,
        "episodes": returned and returned.episodes,
        "equal_actions": found.export.agreement.equal,
    }


def _lines(study: str, point: str, found: Compressed) -> list[str]:
    left, made = found.stages, found.export
    coded = ", ".join(f"{name} {size:,}" for name, size in left.coded.items())
    lines = [
        f"{study} {point}, {found.method} of {found.bits} bits: {made.path}, {made.bytes:,} bytes,"
        f" {found.ratio:.0f} times smaller than the dense policy's {found.dense:,}",
        f"pruned {left.pruned:,} bytes, quantized {left.quantized:,}, coded ({coded}); the codes"
        f" and their places hold {left.entropy:,.0f} bytes of entropy",
    ]
    returned, wanted = made.returned, made.wanted
    if returned is not None:
        policys = (
            f"; the point's {wanted.value:.2f} [{wanted.low:.2f}, {wanted.high:.2f}]"
            if wanted
            else ""
        )
        lines.append(
            f"the file returns {returned.value:.2f} [{returned.low:.2f}, {returned.high:.2f}] over"
            f" {returned.episodes} episodes{policys}; {made.agreement.equal:.2%} of its actions are"
            " those of the point"
        )
    return lines
