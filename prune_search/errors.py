"""The errors that a user reads, and how their lines are worded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

from prune_search.credentials import redacted

_MOST_OF_A_VALUE, _MOST_OF_A_MESSAGE = 120, 2_000
_MANY, _NEAR = 20, 6  # names that a message lists


class UserError(Exception):
    """Something the user can put right: one clear line, shown without a traceback.

    The command line prints it and exits with status 2. Whatever the message quotes, it is one line
    of printable text, and without the user and password of any address in it.

    Args:
        message: the line.
        below: what is to be copied as it is, such as settings; whole, on lines of its own.
    """

    def __init__(self, message: str, below: str = "") -> None:
        line = cut(printable(redacted(" ".join(message.split()))), _MOST_OF_A_MESSAGE)
        more = [printable(redacted(each)) for each in below.splitlines()]
        super().__init__("\n".join([line, *more]))


class NoBetterThanRandom(UserError):
    """The baseline that was trained is no better than random actions; it can be trained further."""


class TrialError(Exception):
    """A trial cannot go on: what it computed is not finite, or nothing was sampled."""


class EnvironmentFault(TrialError):
    """The environment gave what no training can use: mended in its code, and not by another try.

    A fresh process may well not meet it for a while, which would only hide it.
    """


class LostError(TrialError):
    """A process or node of a trial's is gone: another try may well succeed."""


def not_finite(what: str) -> EnvironmentFault:
    """The error for an observation or a reward that is no number that networks can learn from."""
    step, article = ("reset() or step()", "an") if what == "observation" else ("step()", "a")
    return EnvironmentFault(f"environment: {step} returned {article} {what} that is not finite")


def one_line(error: BaseException, limit: int = 300) -> str:
    """An error's message on one line; its type's name where it has none."""
    return cut(redacted(" ".join(str(error).split())), limit) or type(error).__name__


def cut(text: str, limit: int) -> str:
    """The text, without its middle where it is longer: what can be done stands at its end."""
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-(limit // 2) :]}"


def printable(text: str) -> str:
    """The text with escapes in place of what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def from_here(path: Path) -> str:
    """A path as messages name it: from the working folder where it lies in there, else as it is."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere; or the working folder is gone
        return str(path)


def shown(value: object) -> str:
    """A value as a message quotes it, not longer than a message can be."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out an integer of thousands of digits
        return f"{type(value).__name__} too long to show"
    return shortened(text)


def shortened(text: str) -> str:
    """The text, cut where it is longer than a message's part may be."""
    return text if len(text) <= _MOST_OF_A_VALUE else f"{text[:_MOST_OF_A_VALUE]}..."


def unknown(what: str, given: object, known: Iterable[object]) -> UserError:
    """The error for a name that is not among those known.

    It lists them, or, where they are many, those that are near the given one.
    """
    names = sorted(str(name) for name in known)
    if len(names) <= _MANY:
        return UserError(f"{what}: {unknown_name('', given, names)}")
    listed = ", ".join(near_names(given, names))
    return UserError(
        f"{what}: unknown {shown(given)}; "
        + (f"near names: {listed}" if listed else f"none of the {len(names)} known names is near")
    )


def unknown_name(kind: str, given: object, known: Iterable[str], quoted: str = "") -> str:
    """`unknown criterion 'magnitud', did you mean magnitude? known are: ...`, in the order given.

    Args:
        kind: what it is a name of, with a space behind it; empty where that stands elsewhere.
        given: the name, or what stands in its place.
        known: all names.
        quoted: how the message quotes what was given; as Python does if empty.
    """
    names = list(known)
    near = did_you_mean(given, names) if isinstance(given, str) else ""
    return f"unknown {kind}{quoted or shown(given)}{near or ';'} known are: {', '.join(names)}"


def check_known(what: str, given: object, known: Iterable[object]) -> None:
    """Raises `unknown` unless the name is among those known."""
    names = list(known)
    if given not in names:
        raise unknown(what, given, names)


def check_whole(name: str, given: object, least: int, most: int | None = None) -> None:
    """Raises UserError unless an argument is a whole number from `least` to `most`."""
    if not isinstance(given, Integral) or isinstance(given, bool):
        raise UserError(f"{name}: must be a whole number, got {shown(given)}")
    if int(given) < least:
        raise UserError(f"{name}: must be at least {least:,}, got {shown(given)}")
    if most is not None and int(given) > most:
        raise UserError(f"{name}: must be at most {most:,}, got {shown(given)}")


def near_file(path: Path) -> str:
    """`, did you mean mine.yaml?`, of the files that are where one is not."""
    try:
        return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """`, did you mean magnitude?`; empty where nothing known is near."""
    near = near_names(given, known, cutoff=0.7)
    return f", did you mean {near[0]}?" if near else ""


def near_names(given: object, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Those known that are near a name that is not, the nearest first; whatever their case.

    Args:
        given: the name that is not known.
        known: those that are.
        cutoff: how alike two names are that are near, 0 to 1; see `difflib`.
    """
    names, asked = list(known), str(given).lower()
    lower = {name.lower(): name for name in names}
    alike = [
        lower[name] for name in difflib.get_close_matches(asked, lower, n=_NEAR, cutoff=cutoff)
    ]
    # Names that begin alike are near, however long their ends are.
    begin = asked[:4]
    longer = [name for name in names if begin and name.lower().startswith(begin)]
    if len(names) > _MANY:
        return list(dict.fromkeys([*longer, *alike]))[:_NEAR]
    return list(dict.fromkeys([*alike, *longer]))[:_NEAR]
