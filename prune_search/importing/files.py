"""What a policy's file is, by its first bytes: known before RLlib is loaded or anything is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from prune_search.errors import UserError, near_file

_ZIP = b"PK\x03\x04"
_LEGACY = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # near the beginning of torch.save's before it wrote zips


def check_file(path: Path) -> None:
    """Refuses what neither torch nor Stable-Baselines3 has saved.

    Raises:
        UserError: there is no such file, it can't be read, or it is another kind of file.
    """
    if path.is_dir():
        raise UserError(f"import: {str(path)!r} is a folder; give a file")
    if not path.is_file():
        raise UserError(f"import: no file {str(path)!r}{near_file(path)}")
    try:
        with path.open("rb") as stream:
            begin = stream.read(len(_ZIP))
    except OSError as error:
        raise UserError(f"import: cannot read {str(path)!r}: {error.strerror}") from None
    if begin == _ZIP and not zipfile.is_zipfile(path):
        raise UserError(f"import: {str(path)!r} is cut off: its end is missing")
    if not (of_torch(path) or of_stable_baselines(path) or of_torch_script(path)):
        raise no_policy(path)


def no_policy(path: Path) -> UserError:
    """The error for a file that torch.save has not written, or that was altered since."""
    return UserError(
        f"import: {str(path)!r} is no file that torch.save or Stable-Baselines3 has written, or is"
        " damaged"
    )


def of_stable_baselines(path: Path) -> bool:
    """Whether it is a model of Stable-Baselines3."""
    return {"data", "policy.pth"} <= _members(path)


def of_torch(path: Path) -> bool:
    """Whether torch.save has written it: a zip, or a pickle in older versions."""
    if any(name.endswith("/data.pkl") for name in _members(path)):
        return True
    with path.open("rb") as stream:
        return _LEGACY in stream.read(64)


def of_torch_script(path: Path) -> bool:
    """Whether torch.jit.save has written it: a program, with constants beside it."""
    return any(name.endswith("/constants.pkl") for name in _members(path))


def _members(path: Path) -> set[str]:
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())
