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
    from tuners.study.policies.compressing import Compressed, Tuning


@app.command(
    epilog=examples(
        "prune-search compress cartpole t03/2 --bits 4",
        "prune-search compress cartpole t03/2 --method uniform --bits 8 --out small.packed",
        "prune-search compress cartpole t03/2 --bits 2 --env-steps 20000",
    )
)
def compress(
    name: Name,
    point: PointName,
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a weight.")] = BITS,
    method: Annotated[
        str, typer.Option(help="sharing, network_sharing, uniform, or one of your own.")
    ] = METHOD,
    env_steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Fine-tune the quantized weights on the algorithm's loss for so many."
        ),
    ] = None,
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

    With --env-steps they are trained on so before, which zeros and values they share stays: bytes
    and return on the final seeds are said with and without.
    What pruning, quantization and coding leave is said apart.
    """
    from prune_search.compression.methods import METHODS

    folder, settings = opened(storage, name, trust)
    check_known("--method", method, METHODS)
    doing = "training, " if env_steps else ""
    with busy(f"{doing}packing, and measuring what was written"):
        from prune_search.rllib.running import process_settings
        from tuners.study.policies.compressing import compressed

        process_settings(settings.resources.threads)
        found = compressed(
            folder,
            settings,
            point,
            method,
            bits,
            env_steps=env_steps,
            path=path,
            anyway=anyway,
        )
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
        "largest_difference": found.export.agreement.difference,
        "fine_tuning": found.tuning and _tuning_json(found.tuning),
    }


def _tuning_json(tuning: Tuning) -> dict[str, Any]:
    done = tuning.done
    return {
        "env_steps": done.env_steps,
        "kept": done.kept,
        "changed": done.changed,
        "values": done.values,
        "bytes_before": tuning.bytes_before,
        "final_before": tuning.before and tuning.before.value,
        "final_after": tuning.after and tuning.after.value,
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
    whose = f"the {'fine-tuned policy' if found.tuning else 'point'}"
    if returned is not None:
        policys = (
            f"; the point's {wanted.value:.2f} [{wanted.low:.2f}, {wanted.high:.2f}]"
            if wanted
            else ""
        )
        lines.append(
            f"the file returns {returned.value:.2f} [{returned.low:.2f}, {returned.high:.2f}] over"
            f" {returned.episodes} episodes{policys}; of its actions {made.agreement.words(whose)}"
        )
    if found.tuning is not None:
        lines += _tuning_lines(found.tuning, made.bytes)
    return lines


def _tuning_lines(tuning: Tuning, size: int) -> list[str]:
    done, before, after = tuning.done, tuning.before, tuning.after
    lines = [
        f"fine-tuned for {done.env_steps:,} env steps: {done.changed:,} of {done.kept:,} weights"
        f" changed, {done.values:,} values; {size:,} bytes, {tuning.bytes_before:,} without"
    ]
    if before is not None and after is not None:
        lines.append(
            f"on the final seeds it returns {after.value:.2f} [{after.low:.2f}, {after.high:.2f}]"
            f" over {after.episodes} episodes; without {before.value:.2f}"
            f" [{before.low:.2f}, {before.high:.2f}]"
        )
    return lines
