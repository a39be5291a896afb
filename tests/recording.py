"""`python -m tests.recording [--out docs/terminal.md]`: what a terminal shows of a study.

Runs the quick start, made small, in a terminal of 80 columns, and shows it in one of 200; writes
what the screen held halfway and at the end, as text.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

SMALL = (
    "baseline.env_steps=40000",
    "pruning.env_steps=16000",
    "pruning.rounds=4",
    "search.trials=6",
)
WIDTHS = (80, 200)
_CODE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07")
_HEAD = """# What a terminal shows

Recorded by `{command}`: a small study of the quick start, run in a terminal of 80 columns and shown
again in one of 200. Figures are of this one recording; times are of a machine with other work.
"""


class Screen:
    """As much of a terminal as rich needs: lines, the cursor's row, and erasing."""

    def __init__(self) -> None:
        self.lines, self._row = [""], 0

    def feed(self, text: str) -> None:
        """Takes over what a program has written."""
        at = 0
        for code in _CODE.finditer(text):
            self._write(text[at : code.start()])
            at = code.end()
            if code.group(2) == "A":
                self._row = max(0, self._row - int(code.group(1) or 1))
            elif code.group(2) == "K":
                self.lines[self._row] = ""
        self._write(text[at:])

    def _write(self, text: str) -> None:
        for part in re.split(r"(\n|\r)", text):
            if part == "\n":
                self._row += 1
                if self._row == len(self.lines):
                    self.lines.append("")
            elif part and part != "\r":
                self.lines[self._row] += part

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).strip("\n")


def record(command: list[str], width: int, folder: Path) -> list[str]:
    """Runs a command in a terminal of that width; what its screen held, each time it changed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=kept
    )
    os.close(theirs)
    screen, frames = Screen(), [""]
    while True:
        try:
            read = os.read(ours, 65_536)
        except OSError:  # what Linux says when the other end is closed
            break
        if not read:
            break
        screen.feed(read.decode(errors="replace"))
        if str(screen) != frames[-1]:
            frames.append(str(screen))
    os.close(ours)
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{frames[-1]}")
    return frames


def halfway(frames: list[str]) -> str:
    """The last frame in which at most half of the trials had ended."""
    for frame in reversed(frames):
        ended = re.findall(r"(\d+) of (\d+) trials ended", frame)
        if ended and 2 * int(ended[-1][0]) <= int(ended[-1][1]):
            return frame
    return frames[-1]


def markdown(recorded: dict[str, str], command: str) -> str:
    """The page: a heading and a block of text for each recording."""
    parts = [_HEAD.format(command=command)]
    parts += [f"## {title}\n\n```text\n{text}\n```\n" for title, text in recorded.items()]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.recording", description=__doc__)
    parser.add_argument("--out", type=Path, help="Markdown file to write.")
    parser.add_argument("--preset", default="noisy-cartpole")
    given = parser.parse_args()
    tool = [sys.executable, "-m", "tuners.cli"]
    changes = [part for change in SMALL for part in ("--set", change)]
    narrow, wide = WIDTHS
    with tempfile.TemporaryDirectory() as folder:
        run = record([*tool, "run", given.preset, *changes], narrow, Path(folder))
        show = record([*tool, "show", given.preset], wide, Path(folder))
    recorded = {
        f"While it runs, {narrow} columns": halfway(run),
        f"At its end, {narrow} columns": run[-1],
        f"`prune-search show`, {wide} columns": show[-1],
    }
    text = markdown(recorded, " ".join(["python -m tests.recording", *sys.argv[1:]]))
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
