"""Recorded trials: written, read back, and what is no such file is told in a line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from prune_search.errors import UserError
from tests.plans import plan
from tuners.recordings.dataset import Round, Task, Trial, read, write

TASK = Task(
    name="cartpole",
    environment={"id": "CartPole-v1"},
    algorithm={"name": "PPO"},
    software={"ray": "2.50.0"},
    parameters=4_610,
    weights=4_480,
    baseline_env_steps=100_000,
    dense=[500.0, 498.0],
    random=[20.0, 23.0],
)


def trial(number: int) -> Trial:
    rounds = [
        Round(
            progress=0.5 * (index + 1),
            env_steps=500 * (index + 1),
            sparsity=0.4 * (index + 1),
            weight_sparsity=0.45 * (index + 1),
            trained_sparsity=0.3 * (index + 1),
            compact=None if index else 100,
            compact_nonzero=None if index else 90,
            returns=[500.0 - index, 9.25],
            return_pruned=11.5,
        )
        for index in range(2)
    ]
    return Trial(number=number, seed=0, plan=plan(criterion="movement"), rounds=rounds)


def test_what_is_written_is_read_back_and_the_same_bytes_come_of_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl.gz", tmp_path / "other.jsonl.gz"
    trials = [trial(0), trial(3)]
    write(one, TASK, trials)
    found = read(one)
    assert found.task == TASK and found.trials == trials
    write(other, found.task, found.trials)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"no gzip", "not a file of recorded trials: Not a gzipped file"),
        (gzip.compress(b""), "not a file of recorded trials: "),
        (gzip.compress(b'{"version": 2}\n'), "not a file of recorded trials: "),
        (gzip.compress(b"x" * 999)[:-9], "not a file of recorded trials: Compressed file ended"),
    ],
    ids=["missing", "text", "empty", "newer", "cut off"],
)
def test_what_is_no_recording_is_told_in_a_line(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "some.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as raised:
        read(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
