"""Boards with ARM's Cortex-M, emulated by QEMU: programs compiled for them, and what they print."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_search.artifacts.c.sizes import CHIP, COMPILER, SIZE
from prune_search.artifacts.c.target import STRICT
from prune_search.errors import UserError

EMULATOR = "qemu-system-arm"
_PACKAGES = {
    COMPILER: "gcc-arm-none-eabi and libnewlib-arm-none-eabi",
    SIZE: "binutils-arm-none-eabi",
    EMULATOR: "qemu-system-arm",
}
"""Debian's, of each program."""
SHIFT = 10
"""An instruction takes 2^10 ns of the emulated time, so that the board's timer tells them apart."""

# ARM's MPS2 boards: code at 0, data at 0x20000000, more of both than policies need.
_MEMORY = """
MEMORY
{
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = 4M
    RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
ENTRY(reset)
SECTIONS
{
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.init*) *(.fini*) } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) *(.ARM.extab*) } > FLASH
    .data : { *(.data*) } > RAM
    .bss (NOLOAD) : { *(.bss*) *(COMMON) . = ALIGN(8); end = .; __end__ = .; } > RAM
    stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""
# What the board runs first: the vector table, the floating-point unit where there is one, main.
_STARTUP = """
#include <stdint.h>
#include <stdlib.h>

extern uint32_t stack_top;
int main(void);
void initialise_monitor_handles(void);
void reset(void);
void _fini(void);

void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the coprocessors 10 and 11 */
#endif
    initialise_monitor_handles();
    exit(main());
}

void _fini(void) {} /* exit calls it */

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, (const void *)(uintptr_t)&reset};
"""


@dataclass(frozen=True)
class Board:
    """A board that there is an emulator of."""

    chip: str
    machine: str
    """QEMU's name."""
    options: tuple[str, ...]
    """The compiler's."""


BOARDS = (
    Board("Cortex-M4 with its floating-point unit", "mps2-an386", CHIP),
    Board("Cortex-M3", "mps2-an385", ("-mcpu=cortex-m3", "-mthumb")),
)


def require_tools() -> None:
    """Looks for the compiler and the emulator.

    Raises:
        UserError: one is missing; the message says what to install.
    """
    absent = [name for name in _PACKAGES if shutil.which(name) is None]
    if absent:
        packages = " ".join(_PACKAGES[name] for name in absent).replace(" and", "")
        raise UserError(
            f"benchmark devices: needs {', '.join(absent)}; on Debian: apt-get install {packages}"
        )


def build(board: Board, sources: Sequence[Path], folder: Path, *options: str) -> Path:
    """Compiles and links a program, strictly.

    Args:
        board: what it is for.
        sources: its C, of which one has `main`.
        folder: where the program goes.
        options: more of the compiler's.

    Raises:
        UserError: the compiler does not take it.
    """
    memory, startup, program = folder / "memory.ld", folder / "startup.c", folder / "program.elf"
    memory.write_text(_MEMORY)
    startup.write_text(_STARTUP)
    link: list[str | Path] = [
        "--specs=rdimon.specs",
        "-T",
        memory,
        "-nostartfiles",
        "-lm",
        "-o",
        program,
    ]
    command = [COMPILER, *board.options, *STRICT, "-O2", *options, *sources, startup, *link]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"benchmark devices: {COMPILER} says: {done.stderr}")
    return program


def run(board: Board, program: Path) -> str:
    """What a program prints, by semihosting, before it ends with status 0.

    Raises:
        UserError: it ends with another, or not within ten minutes.
    """
    machine: list[str | Path] = [EMULATOR, "-M", board.machine, "-display", "none", "-semihosting"]
    command = [*machine, "-icount", f"shift={SHIFT}", "-kernel", program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        raise UserError(f"benchmark devices: {EMULATOR} does not end") from None
    if done.returncode:
        raise UserError(f"benchmark devices: {EMULATOR} ends with {done.returncode}: {done.stderr}")
    return str(done.stdout)


def linked_bytes(program: Path, size: str = SIZE) -> tuple[int, int]:
    """Bytes of flash and of static memory of a program, as a `size` of binutils has them."""
    done = subprocess.run([size, program], capture_output=True, text=True, check=True)
    text, data, bss = (int(number) for number in done.stdout.splitlines()[1].split()[:3])
    return text + data, data + bss
