"""Which line of the user's code an exception comes from, out of what frameworks put around it.

RLlib raises a `RuntimeError` without a message for whatever an environment raises, Ray one of its
own around that, with the first as text. Tracebacks as text are what they all have in common.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

from prune_search.credentials import redacted

_CAUSED = "The above exception was the direct cause of the following exception:"
_MEANWHILE = "During handling of the above exception, another exception occurred:"
_FRAME = re.compile(r'^\s*File "(.+)", line (\d+), in (\S+)', re.MULTILINE)
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: ?(.*))?$")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_LONGEST = 300

_FRAMEWORKS = frozenset({"ray", "gymnasium", "torch", "numpy", "tree", "prune_search", "tuners"})
_LIBRARIES = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_OURS = Path(__file__).resolve().parents[1]


def culprit(error: BaseException) -> str:
    """The exception at the bottom of an error, in one line, with its place in the user's code.

    Returns:
        Such as ``ValueError: the gearbox broke (/home/me/robot.py line 47, step)``. No place where
        no line but of frameworks' is involved.
    """
    text = str(error) if of_code(error) else _formatted(error)
    block = _root(_COLOUR.sub("", text))
    raised = _message(block) or _message(_formatted(error)) or type(error).__name__
    found = [frame for frame in _FRAME.findall(block) if _is_users(Path(frame[0]))]
    place = " ({} line {}, {})".format(*found[-1]) if found else ""
    return redacted(raised)[: _LONGEST - min(len(place), _LONGEST // 2)] + place


def of_code(error: BaseException) -> bool:
    """Whether an error is Ray's, of code that an actor ran, and not of the actor's end."""
    return getattr(error, "cause", None) is not None


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _root(text: str) -> str:
    """The traceback of the exception that caused the last one."""
    last = text.rpartition(_MEANWHILE)[2]
    return last.partition(_CAUSED)[0]


def _message(block: str) -> str:
    """Type and message of a traceback's exception, on one line; empty if it has none."""
    lines = block.rstrip().splitlines()
    begin = max((i for i, line in enumerate(lines) if _FRAME.match(line)), default=-1)
    for i, line in enumerate(lines[begin + 1 :], start=begin + 1):
        found = _RAISED.match(line)
        if found:
            name = found.group(1).rpartition(".")[2]
            message = " ".join(" ".join([found.group(2) or "", *lines[i + 1 :]]).split())
            return f"{name}: {message}" if message else name
    return ""


def _is_users(path: Path) -> bool:
    """Whether a file is neither Python's, nor a framework's, nor this package's."""
    path = path.resolve()
    for library in _LIBRARIES:
        if path.is_relative_to(library):
            return path.relative_to(library).parts[0] not in _FRAMEWORKS
    if path.is_relative_to(_OURS) and path.relative_to(_OURS).parts[0] in _FRAMEWORKS:
        return False
    return path.is_file() and not path.is_relative_to(_STANDARD)
