"""The command that measures policies on emulated microcontrollers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import UserError
from tuners.cli._app import benchmarks, check_writable, err, writing


@benchmarks.command("devices")
def benchmark_devices(
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the figures, as JSON; a page, .md, beside it."),
    ] = None,
) -> None:
    """Instructions and memory of a policy's C, pruned and dense, on emulated Cortex-M chips.

    Needs arm-none-eabi-gcc and qemu-system-arm; some minutes.
    """
    page = None if to is None else to.with_suffix(".md")
    if to is not None and to == page:
        raise UserError(f"--to: must be a JSON file, got {str(to)!r}")
    check_writable("--to", to)
    from tuners.benchmarks.devices.costs import costs
    from tuners.benchmarks.devices.page import markdown

    found = costs(err.print)
    text = markdown(found)
    if to is None or page is None:
        print(text)
        return
    with writing("--to", to):
        to.write_text(json.dumps([asdict(cost) for cost in found], indent=1), encoding="utf-8")
        page.write_text(text, encoding="utf-8")
