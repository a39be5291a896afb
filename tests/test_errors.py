"""What messages say."""

from __future__ import annotations

import shlex
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from prune_search.errors import UserError, check_whole, one_line, unknown
from tuners.commands import command

FEW = ["cubic", "linear"]


def test_few_known_names_are_all_listed() -> None:
    assert str(unknown("pruning.schedule", "steps", FEW)) == (
        "pruning.schedule: unknown 'steps'; known are: cubic, linear"
    )


def test_of_many_known_names_those_that_are_near_are_listed() -> None:
    message = str(unknown("environment.id", "LunarLandr-v3", gym.registry))
    assert message.startswith("environment.id: unknown 'LunarLandr-v3'; near names: LunarLander")
    assert len(message) < 200
    assert "CartPole-v1" in str(unknown("environment.id", "cartpole", gym.registry))
    assert "CartPole-v1" in str(unknown("environment.id", "KartPole-v1", gym.registry))
    message = str(unknown("environment.id", "ZZZ", gym.registry))
    assert message.endswith(f"none of the {len(gym.registry)} known names is near")


def test_what_can_be_done_is_never_cut_off() -> None:
    long = "x" * 3_000
    assert str(UserError(f"field: {long}; give another one")).endswith("; give another one")
    assert one_line(ValueError(f"{long}; use SAC instead")).endswith("; use SAC instead")
    assert len(one_line(ValueError(long))) < 310


def test_what_is_to_be_copied_stands_whole_below_the_line() -> None:
    below = f"model:\n  hiddens: [{', '.join(['64'] * 900)}]\n  at: http://user:word@host\x1b"
    line, *more = str(UserError("field: wrong;\nlet it be", below=below)).split("\n")
    assert line == "field: wrong; let it be"
    assert more[:2] == below.splitlines()[:2]
    assert more[2] == "  at: http://***@host\\x1b"


def test_arguments_out_of_range_are_refused_as_options_are() -> None:
    for fine in (2, 100_000, np.int64(7)):
        check_whole("episodes", fine, 2, 100_000)
    for wrong, message in (
        (0, "must be at least 2, got 0"),
        (100_001, "must be at most 100,000, got 100001"),
        (2.5, "must be a whole number, got 2.5"),
        (True, "must be a whole number, got True"),
    ):
        with pytest.raises(UserError) as caught:
            check_whole("episodes", wrong, 2, 100_000)
        assert str(caught.value) == f"episodes: {message}"


@pytest.mark.parametrize("storage", ["studies", "with space", "it's $HOME"])
def test_printed_commands_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRUNE_SEARCH_STORAGE", raising=False)
    printed = command("evaluate", tmp_path / storage / "my robot", "t03/2")
    words = shlex.split(printed)  # as a shell splits it
    assert words[:4] == ["prune-search", "evaluate", "my robot", "t03/2"]
    given = words[4:] or ["--storage", "studies"]
    assert given[0] == "--storage" and Path(given[1]).resolve() == tmp_path / storage
