"""The launcher files: Ray's own checker takes them, and their clusters ask for a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
LAUNCHERS = ["aws", "gcp", "own-machines"]


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> Any:
    return yaml.safe_load((ROOT / "cluster" / f"{request.param}.yaml").read_text())


def test_ray_accepts_it(launcher: Any) -> None:
    prepared = prepare_config(launcher)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    # What Ray fills in is not left to Ray where it installs another Ray or opens the dashboard.
    commands = [
        command for key, value in prepared.items() if "commands" in key for command in value
    ]
    assert not any("0.0.0.0" in command or "ray-wheels" in command for command in commands)


def test_rays_checker_refuses_what_is_wrong(launcher: Any) -> None:
    with pytest.raises(Exception, match="is not of type 'number'"):
        validate_config(prepare_config({**launcher, "idle_timeout_minutes": "soon"}))


def test_every_node_asks_for_the_token(launcher: Any) -> None:
    assert launcher["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for role in ("head", "worker"):
        start = launcher[f"{role}_start_ray_commands"][-1]
        assert "RAY_AUTH_MODE=token ray start" in start
    assert "--dashboard-host=127.0.0.1" in launcher["head_start_ray_commands"][-1]


def test_all_that_is_copied_is_here(launcher: Any) -> None:
    local = [path for path in launcher["file_mounts"].values() if not path.startswith("~")]
    assert {"pyproject.toml", "prune_search", "tuners"} <= set(local)
    assert all((ROOT / path).exists() for path in local)
