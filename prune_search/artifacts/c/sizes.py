"""What the C takes of a microcontroller, as its compiler says it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMPILER, SIZE = "arm-none-eabi-gcc", "arm-none-eabi-size"
CHIP = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
"""A Cortex-M4 with its floating-point unit."""


def measured(folder: Path) -> dict[str, int]:
    """Bytes by name: what the header states, and what a cross compiler makes of it, if there is.

    Returns:
        `constants` in flash and `buffers` in RAM; with `arm-none-eabi-gcc` (-Os) also `flash`, code
        and constants of the policy on a Cortex-M4 without the C library's functions; `ram`, its
        static memory; and `stack`, that of `policy_act` and what it calls of its own file.
    """
    text = (folder / "policy.h").read_text()
    found = {
        name: int(number)
        for name, define in (("constants", "FLASH"), ("buffers", "RAM"))
        for number in re.findall(rf"#define POLICY_{define} (\d+)", text)
    }
    known = shutil.which(COMPILER)
    return found | (cross_compiled(folder, COMPILER, SIZE, (*CHIP, "-std=c99")) if known else {})


def cross_compiled(folder: Path, compiler: str, size: str, given: Sequence[str]) -> dict[str, int]:
    """Bytes of an exported folder's `policy.c` alone, compiled with -Os for another machine.

    Args:
        folder: what was exported.
        compiler: GCC for that machine.
        size: its binutils' `size`.
        given: options of the compiler's.

    Returns:
        `flash`, `ram` and `stack`, see `measured`; nothing where the compiler does not take it.
    """
    with tempfile.TemporaryDirectory() as place:
        made = Path(place, "policy.o")
        options = (*given, "-Os", "-fstack-usage", "-c")
        command = [compiler, *options, "-o", str(made), str(folder / "policy.c")]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            return {}
        listed = subprocess.run(
            [size, str(made)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        text, data, bss = (int(number) for number in listed[1].split()[:3])
        usage = made.with_suffix(".su").read_text().splitlines()
    stacks = {line.split("\t")[0].rpartition(":")[2]: int(line.split("\t")[1]) for line in usage}
    own = stacks.pop("policy_act", 0)
    return {"flash": text + data, "ram": data + bss, "stack": own + max(stacks.values(), default=0)}
