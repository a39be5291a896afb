"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right: one clear line, shown without a traceback.

    The command line prints it and exits with status 2.
    """


class TrialError(Exception):
    """A trial cannot go on: what it computed is not finite, or nothing was sampled."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """An error's message on one line; its type's name where it has none."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def unknown(what: str, given: object, known: object) -> UserError:
    """The error for a name that is not among those known, which it lists."""
    names = ", ".join(sorted(str(name) for name in known))  # type: ignore[attr-defined]
    return UserError(f"{what}: unknown {given!r}; known are: {names}")
