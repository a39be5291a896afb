"""What to install where a package is missing that an environment needs."""

from __future__ import annotations

from pathlib import Path

from prune_search.errors import one_line

EXTRAS = {
    "ale_py": "atari",
    "cv2": "atari",
    "minatar": "minatar",
    "minigrid": "minigrid",
    "highway_env": "driving",
    "Box2D": "box2d",
    "mujoco": "mujoco",
    "imageio": "mujoco",
}
"""Python's name of a package, and the extra of ours that brings it: for presets, for the files in
examples/, and for environments that gymnasium has itself."""


def reason(error: BaseException) -> str:
    """An error's type and message; of a missing module, where it is looked for or what brings it.

    Gymnasium's own advice is left out there: its extras do not build everywhere, or lack what is
    needed beside them.
    """
    missing: BaseException | None = error
    while missing is not None and not isinstance(missing, ModuleNotFoundError):
        missing = missing.__cause__ or missing.__context__
    name = (getattr(missing, "name", None) or "").partition(".")[0]
    if name not in EXTRAS:
        looked = isinstance(error, ModuleNotFoundError)
        where = f"; modules are looked for in {Path.cwd()} and on PYTHONPATH" if looked else ""
        return f"{type(error).__name__}: {one_line(error)}{where}"
    return f'{type(missing).__name__}: {missing}; pip install "prune-search[{EXTRAS[name]}]"'
