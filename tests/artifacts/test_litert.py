"""LiteRT does what the description says; where it is missing, what to install is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from prune_search.artifacts.base import open_artifact
from prune_search.errors import UserError
from tests.artifacts.test_targets import differences, written
from tests.describable import POLICIES, material

INSTALLED = importlib.util.find_spec("litert_torch") is not None


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason='needs litert-torch, pip install "prune-search[litert]"')
@pytest.mark.parametrize("name", POLICIES)
def test_files_act_as_the_description(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    artifact = open_artifact(written(name, "litert", tmp_path))
    assert differences(name, artifact).max() <= 1e-5
    assert artifact.card == material(name, "litert").card
    assert capfd.readouterr() == ("", "")
    assert (artifact.nanoseconds(np.zeros((1, *POLICIES[name].observation_shape)), 5) > 0).all()


@pytest.mark.skipif(INSTALLED, reason="litert-torch is installed")
def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'litert-torch; pip install "prune-search\[litert\]"'):
        written("vector", "litert", tmp_path)
