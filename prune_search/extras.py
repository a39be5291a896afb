"""What to install where a package is missing that an environment needs."""

from __future__ import annotations

EXTRAS = {
    "ale_py": "atari",
    "cv2": "atari",
    "minatar": "minatar",
    "minigrid": "minigrid",
    "highway_env": "driving",
}
"""Python's name of a package, and the extra of ours that brings it."""


def install_line(error: BaseException) -> str:
    """What to append to the message of an error whose cause is a missing package; else nothing."""
    missing: BaseException | None = error
    while missing is not None and not isinstance(missing, ModuleNotFoundError):
        missing = missing.__cause__ or missing.__context__
    name = (getattr(missing, "name", None) or "").partition(".")[0]
    return f'; pip install "prune-search[{EXTRAS[name]}]"' if name in EXTRAS else ""
