"""An ATmega328P, emulated by simavr: programs compiled for it, and what they print."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from prune_search.errors import UserError

CHIP = "ATmega328P"
"""An AVR of 8 bits with 32 KiB of flash and 2 KiB of RAM."""
COMPILER, SIZE, EMULATOR = "avr-gcc", "avr-size", "simavr"
_PACKAGES = {COMPILER: "gcc-avr", SIZE: "binutils-avr", EMULATOR: "simavr"}
"""Debian's, of each program; the C library is avr-libc."""
OPTIONS = ("-mmcu=atmega328p", "-std=gnu99", "-Wall", "-Wextra", "-Werror")
"""Of GNU's C, which alone knows the address space of constants."""
TICK = 64
"""Cycles of the timer's steps."""

# Printed lines leave by the serial port; sleep without interrupts ends the emulation.
_AROUND = """
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdio.h>

int measured(void);

static int put(char letter, FILE *stream)
{
    (void)stream;
    while (!(UCSR0A & (1 << UDRE0)))
        ;
    UDR0 = letter;
    return 0;
}

static FILE port = FDEV_SETUP_STREAM(put, NULL, _FDEV_SETUP_WRITE);

int main(void)
{
    stdout = &port;
    UCSR0B = 1 << TXEN0;
    TCCR1B = 1 << CS11 | 1 << CS10;
    printf("ended with %d\\n", measured());
    while (!(UCSR0A & (1 << TXC0)))
        ;
    cli();
    sleep_enable();
    sleep_cpu();
    return 0;
}
"""
_LINE = re.compile(r"\x1b\[32m(.*?)\.?\r?\n")
"""What simavr says of a line that came out of the port: in green, and a dot for its end."""


def lacking() -> str | None:
    """What has to be installed before anything runs here; None if nothing."""
    absent = [name for name in _PACKAGES if shutil.which(name) is None]
    if not absent:
        return None
    return (
        f"needs {', '.join(absent)}; on Debian: apt-get install"
        f" {' '.join(_PACKAGES[name] for name in absent)} avr-libc"
    )


def build(sources: Sequence[Path], folder: Path, *options: str) -> Path:
    """Compiles and links a program.

    Args:
        sources: its C, of which one has `measured`, which is run in place of `main`.
        folder: where the program goes.
        options: more of the compiler's.

    Raises:
        UserError: the compiler does not take it, or the chip has not as much memory.
    """
    around, program = folder / "around.c", folder / "avr.elf"
    around.write_text(_AROUND)
    command: list[str | Path] = [
        COMPILER,
        *OPTIONS,
        "-O2",
        *options,
        *sources,
        around,
        "-lm",
        "-o",
        program,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"benchmark devices: {COMPILER} says: {done.stderr}")
    return program


def run(program: Path) -> list[str]:
    """The lines that a program prints before `measured` returns 0.

    Raises:
        UserError: it returns something else, or does not end within ten minutes.
    """
    command: list[str | Path] = [EMULATOR, "-m", "atmega328p", "-f", "16000000", program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        raise UserError(f"benchmark devices: {EMULATOR} does not end") from None
    lines = _LINE.findall(done.stdout + done.stderr)
    if not lines or lines[-1] != "ended with 0":
        raise UserError(
            f"benchmark devices: {EMULATOR} ends with {lines[-1:] or done.stderr!r:.200}"
        )
    return lines[:-1]
