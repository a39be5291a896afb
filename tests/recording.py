"""`python -m tests.recording [--out docs/terminal.md]`: what a terminal shows of a study.

Runs the quick start, made small, in a terminal of 80 columns, and shows it in one of 200; writes
what the screen held halfway and at the end, as text, and how true the time left was.
"""

from __future__ import annotations

import argparse
import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import NamedTuple

from tests.report.test_time_left import SLACK_S
from tuners.display.live import clock

SMALL = (
    "baseline.env_steps=40000",
    "pruning.env_steps=16000",
    "pruning.rounds=4",
    "search.trials=6",
)
WIDTHS = (80, 200)
_CODE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07")
_BEGUN = re.compile(r"\x1b(\[[?\d;]*|\][^\x07]*)?$")  # a code whose end is not read yet
_LEFT = re.compile(r"about ([^,\n]+?) left")
_REPORT = re.compile(r"^study ", re.MULTILINE)  # how the report begins, below the display
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_HEAD = """# What a terminal shows

Recorded by `{command}`: a small study of the quick start,
run in a terminal of 80 columns and shown again in one of 200. Figures are of this one recording, on
a machine with other work.
"""


class Frame(NamedTuple):
    """What a screen held."""

    at: float
    """Seconds after the command began."""
    text: str


class Screen:
    """As much of a terminal as rich needs: lines, the cursor's row, and erasing."""

    def __init__(self) -> None:
        self.lines, self._row, self._begun = [""], 0, ""

    def feed(self, text: str) -> None:
        """Takes over what a program has written."""
        text, at = self._begun + text, 0
        begun = _BEGUN.search(text)
        text, self._begun = (text[: begun.start()], begun.group()) if begun else (text, "")
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


def record(command: list[str], width: int, folder: Path) -> list[Frame]:
    """Runs a command in a terminal of that width; what its screen held, each time it changed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=kept
    )
    os.close(theirs)
    screen, frames, decoder = Screen(), [Frame(0.0, "")], codecs.getincrementaldecoder("utf-8")()
    while True:
        try:
            read = os.read(ours, 65_536)
        except OSError:  # what Linux says when the other end is closed
            break
        if not read:
            break
        screen.feed(decoder.decode(read))
        if str(screen) != frames[-1].text:
            frames.append(Frame(time.monotonic() - began, str(screen)))
    os.close(ours)
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{frames[-1].text}")
    return frames


def halfway(frames: list[Frame]) -> str:
    """The last frame in which at most half of the trials had ended."""
    for frame in reversed(frames):
        ended = re.findall(r"(\d+) of (\d+) trials? ended", frame.text)
        if ended and 2 * int(ended[-1][0]) <= int(ended[-1][1]):
            return frame.text
    return frames[-1].text


def seconds(words: str) -> float:
    """What `about` has written, in seconds.

    >>> seconds("2 h 10 min"), seconds("a few seconds")
    (7800.0, 5.0)
    """
    parts = re.findall(r"(\d+) (s|min|h)\b", words)
    return float(sum(int(number) * _SECONDS[unit] for number, unit in parts)) or 5.0


def said_left(frames: list[Frame]) -> list[tuple[Frame, str, float]]:
    """Frames from the middle of the time on that tell the time left: it, and what was left."""
    end = frames[-1].at
    return [
        (frame, _LEFT.findall(frame.text)[-1], end - frame.at)
        for frame in frames
        if frame.at >= end / 2 and _LEFT.search(frame.text) and not _REPORT.search(frame.text)
    ]


def figures(run: list[Frame], show: list[Frame]) -> list[str]:
    """The recording's figures, a line each: blank at the start, widths, and time left."""
    lines = [
        f"- Blank before the first line: `run` {run[1].at:.1f} s, `show` {show[1].at:.1f} s.",
        f"- The study took {clock(run[-1].at)}.",
    ]
    told = said_left(run)
    if not told:
        return lines
    within = [left / 2 - SLACK_S <= seconds(said) <= 2 * left + SLACK_S for _, said, left in told]
    lines.append(
        f"- Time left, from the middle on: within a factor of two (and {SLACK_S:g} s) in"
        f" {sum(within) / len(within):.0%} of {len(told)} frames. Some of\n  them:\n\n"
        "| after | said | was left |\n|---:|---:|---:|"
    )
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        frame, said, left = min(told, key=lambda item: abs(item[0].at - share * run[-1].at))
        lines.append(f"| {clock(frame.at)} | {said} | {clock(left)} |")
    return lines


def markdown(recorded: dict[str, str], told: list[str], command: str) -> str:
    """The page: figures, then a heading and a block of text for each recording."""
    parts = [_HEAD.format(command=command), "\n".join(told) + "\n"]
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
        f"At its end, {narrow} columns": run[-1].text,
        f"`prune-search show`, {wide} columns": show[-1].text,
    }
    told = figures(run, show)
    home = str(Path(__file__).resolve().parents[1])
    recorded = {title: shown.replace(home, "~/prune-search") for title, shown in recorded.items()}
    text = markdown(recorded, told, " ".join(["python -m tests.recording", *sys.argv[1:]]))
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
