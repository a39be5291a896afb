"""What Ray says of what failed, in words of a user's: the one reader of Ray's English.

`tests/test_ray_failures.py` has its wordings, of the version that is installed.
"""

from __future__ import annotations

import re

from prune_search.credentials import redacted
from prune_search.errors import TrialError, UserError, one_line
from prune_search.user_code import culprit, of_code

_ACTORS = {
    "EnvRunner": "an env runner",
    "Learner": "a learner",
    "WrappedExecutable": "a learner",  # Ray Train's, of which RLlib makes its learners
    "Trainable": "the trial",
    "Trial": "the trial",
}
"""By a part of the class's name, what it is to a user."""
_LONGEST = 300
_ACTOR_CLASS = re.compile(r"class_name: (\S+)")
_OF_A_TASK = "\x1b[36mray::"
"""What a traceback of code that a task ran begins with."""


def lost(error: BaseException, process: str = "a process of Ray's") -> str:
    """What one of Ray's errors says of a process, in one line: its own error, or that it died.

    Args:
        error: Ray's.
        process: what it was to a user, where the error doesn't name an actor.
    """
    if of_code(error):
        told = own_error(error)
        return culprit(error) if told is None else one_line(told)
    text = str(error)
    found = _ACTOR_CLASS.search(text)
    actor = _actor(found.group(1)) if found else process
    if "died" in text or "unavailable" in text:
        return f"{actor} is lost: its {'node' if 'its node has died' in text else 'process'} died"
    return f"{actor} is lost: {one_line(error)}"


def own_error(error: BaseException) -> TrialError | UserError | None:
    """The error of this package's that code in another process has ended with, as it was raised.

    Ray's own around it is of the same class too, and has a traceback for its message.

    Args:
        error: any; Ray's of a task that waited for another task are looked into as well.

    Returns:
        None where the code has ended with another error, or the process was lost.
    """
    while of_code(error):
        error = error.cause  # type: ignore[attr-defined]
    return error if isinstance(error, TrialError | UserError) else None


def last_failure(text: str) -> str:
    """Why a trial failed the last time, in one line.

    Args:
        text: of the file that Tune keeps of a trial's failures, one after another.
    """
    _, _, last = text.rpartition("Failure # ")
    lines = [line.strip() for line in last.splitlines()[1:] if line.strip()]
    if not lines:
        return "unknown"
    # An error of the trial's own is a traceback, in which the last line that names an error says
    # what went wrong; one of Ray's begins with that.
    if lines[0].startswith(_OF_A_TASK):
        named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
        lines = [re.sub(r"^prune_search\.errors\.\w+: ", "", (named or lines)[-1])]
    elif "is unavailable" in lines[0]:
        return "its process or node is lost"
    elif "died unexpectedly" in lines[0]:
        return (
            "its node is lost"
            if re.search(r"\bnode\b.*\b(died|dead)\b", last)
            else "its process died"
        )
    return redacted(lines[0])[:_LONGEST]


def _actor(name: str) -> str:
    """What a class of Ray's or ours does, for those who don't know it."""
    return next((words for part, words in _ACTORS.items() if part in name), "a process of Ray's")
