"""Ray's wordings of what failed, each as the version that is installed has it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from prune_search.ray_failures import last_failure, lost


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tpid: 3\nThe actor is dead"
            " because its worker process has died.",
            "its process died",
        ),
        (
            "The actor died unexpectedly before finishing this task.\n\tpid: 3\nThe actor died"
            " because its node has died. Node Id: 12",
            "its node is lost",
        ),
        ("The actor 12 is unavailable: The actor is temporarily", "its process or node is lost"),
        (
            "\x1b[36mray::ResourceTrainable.train()\x1b[39m (pid=3)\n  File x, line 3\nValueError:"
            " Expected parameter logits to be finite, but found:\ntensor([nan,\n nan])",
            "ValueError: Expected parameter logits to be finite, but found:",
        ),
    ],
)
def test_a_failure_is_told_in_a_line(text: str, reason: str) -> None:
    of_tune = "Failure # {} (occurred at 2026-01-01_00-00-00)\n{}\n"
    assert last_failure(of_tune.format(1, "an earlier one") + of_tune.format(2, text)) == reason


def test_no_failure_is_unknown() -> None:
    assert last_failure("") == "unknown"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SingleAgentEnvRunner", "an env runner"),
        ("LeanEnvRunner", "an env runner"),
        ("OfflineMultiAgentEnvRunner", "an env runner"),
        ("create_executable_class.<locals>._WrappedExecutable", "a learner"),
        ("ResourceTrainable", "the trial"),
        ("Queue", "a process of Ray's"),
    ],
)
def test_what_is_lost_is_told_without_the_names_of_classes(name: str, words: str) -> None:
    died = RuntimeError(f"The actor died unexpectedly.\n\tclass_name: {name}\n\tactor_id: 12\n")
    assert lost(died) == f"{words} is lost: its process died"
    page = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()
    assert name not in page and "HTTPConnectionPool" not in page


def test_rays_own_words_for_a_process_that_ends_and_for_code_that_fails(local_ray: None) -> None:
    import ray

    @ray.remote
    class Learner:
        def die(self) -> None:
            os._exit(1)

        def fail(self) -> None:
            raise ValueError("the gearbox broke")

    made: Any = Learner
    learner = made.remote()
    with pytest.raises(ray.exceptions.RayError) as failed:
        ray.get(learner.fail.remote())
    assert lost(failed.value).startswith("ValueError: the gearbox broke")
    with pytest.raises(ray.exceptions.RayError) as died:
        ray.get(learner.die.remote())
    assert lost(died.value) == "a learner is lost: its process died"
