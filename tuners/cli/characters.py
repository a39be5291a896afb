"""Output in the characters that can be shown where the command runs."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Mapping

_ASCII = {
    "≥": ">=", "≤": "<=", "→": "->", "×": "x", "·": ".", "●": "*", "…": "...", "–": "-", "−": "-",
    "┈": "-", "╌": "-", "─": "-", "━": "-", "│": "|", "┃": "|", "┤": "+", "├": "+", "┼": "+",
    "┬": "+", "┴": "+", "┌": "+", "┐": "+", "└": "+", "┘": "+", "╭": "+", "╮": "+", "╰": "+",
    "╯": "+", "█": "#", "σ": "sigma", "λ": "lambda", "“": '"', "”": '"', "’": "'",
}  # fmt: skip
_HANDLER = "prune_search.ascii"


def plain_output(environment: Mapping[str, str] = os.environ) -> None:
    """Has standard output and error written in what the terminal can show.

    A locale of C or POSIX that the user has set means ASCII, although Python takes it for UTF-8.
    What an encoding lacks is replaced by what looks like it, and never an error.
    """
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where it is closed, or replaced by a test
            encoding = "ascii" if _asks_for_ascii(environment) else None
            stream.reconfigure(encoding=encoding, errors=_HANDLER)


def _asks_for_ascii(environment: Mapping[str, str]) -> bool:
    if environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8"):
        return False
    # LC_CTYPE is what Python itself sets where LANG is C.
    locale = environment.get("LC_ALL") or environment.get("LANG") or ""
    return locale in ("C", "POSIX")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_ascii, text)), error.end


def _ascii(character: str) -> str:
    known = _ASCII.get(character)
    if known is not None:
        return known
    # é is e and an accent
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode("ascii")
    return base or "?"
