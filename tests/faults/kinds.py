"""The table of faults: kinds, moments, and how each is done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.faults.world import FAILS_EACH, World, lock

ROUNDS = 5
"""Of each trial."""


@dataclass(frozen=True)
class Injection:
    """One fault at one moment."""

    kind: str
    moment: str
    at: int
    """It is injected once the study has this many points."""
    do: Callable[[World, str], Any]
    """Injects it, given the study's name."""
    undo: Callable[[World, Any], None] | None = None
    """Ends it, given what `do` has returned, once the user was told."""
    delay: float = 0.0
    """Seconds after that many points."""


_Do: TypeAlias = "Callable[[World, str], Any]"
_Undo: TypeAlias = "Callable[[World, Any], None] | None"
_Moment: TypeAlias = "tuple[str, _Do, _Undo, float]"
_Kind: TypeAlias = "tuple[str, list[_Moment]]"


@dataclass(frozen=True)
class Script:
    """What happens to one study."""

    name: str
    trials: int
    overrides: tuple[str, ...] = ()
    reference: str = "undisturbed"
    """The undisturbed study with the same resources."""
    injections: list[Injection] = field(default_factory=list)


def scripts(brief: bool, disk: bool, compiler: bool) -> list[Script]:
    """All studies and what happens to them.

    Args:
        brief: one injection of each kind.
        disk: whether there is a disk of the faults' own to fill.
        compiler: whether there is what makes writes fail.
    """
    groups: dict[str, list[_Kind]] = {
        "processes": [
            ("trial killed", [
                ("in its first round", _kill("ResourceTrainable"), None, 1.0),
                ("as a round begins", _kill("ResourceTrainable"), None, 0.0),
                ("within a round", _kill("ResourceTrainable"), None, 1.5),
            ]),
            ("process paused for a minute", [
                ("within a round", _pause("ResourceTrainable"), None, 0.5),
            ]),
            ("node lost", [
                ("before another comes", _lose("remove"), None, 0.5),
                ("after another came", _lose("add"), None, 0.5),
            ]),
        ],
        "services": [
            ("Optuna's database locked", [
                ("from a trial's last round on", _lock, _unlock, 0.0),
                ("within a round or after it", _lock, _unlock, 0.5),
            ]),
            ("disk full", [
                ("within a round", _fill, _free, 0.2),
                ("within a later round", _fill, _free, 0.2),
                ("as a round begins", _fill, _free, 0.0),
            ]),
            (f"every {FAILS_EACH}th write fails", [
                ("from a round's begin on", _fail_writes, _write, 0.0),
                ("within a round", _fail_writes, _write, 0.5),
            ]),
            ("record torn in the middle", [
                ("a trial's that has ended", _tear("trials/t00/trial.json"), None, 0.0),
                ("the study's", _tear("study.json"), None, 0.0),
            ]),
        ],
        "tracking": [
            ("MLflow's server down", [
                ("killed within a round", _down(signal.SIGKILL), _up, 0.5),
                ("stops to answer", _down(signal.SIGSTOP), _go_on, 0.5),
            ]),
        ],
        "environments": [
            ("environment raises", [
                ("in training", _ask("raise training"), None, 0.0),
                ("in evaluation", _ask("raise evaluation"), None, 0.0),
            ]),
            # Numbers that are not finite end their trial: see tests/trial/test_trainable.py.
            ("environment leaks", [
                ("in training", _ask("leak training"), None, 0.0),
                ("in evaluation", _ask("leak evaluation"), None, 0.0),
            ]),
            ("trial hangs", [
                ("in training, asleep", _ask("hang training"), None, 0.0),
                ("in evaluation, in C", _ask("spin evaluation"), None, 0.0),
            ]),
        ],
    }  # fmt: skip
    local: list[Script] = []
    for name, kinds in groups.items():
        injections, at = [], 0
        for kind, moments in kinds:
            if (kind == "disk full" and not disk) or (kind.endswith("fails") and not compiler):
                continue
            for moment, do, undo, delay in moments[:1] if brief else moments:
                if "last round" in moment:  # the database is used between two trials
                    at += (ROUNDS - 1 - at) % ROUNDS
                injections.append(Injection(kind, moment, at, do, undo, delay))
                at += 1
        # A trial for each: rounds go on until a fault has happened and was told of. MLflow is
        # tried again after up to half a minute.
        trials = 12 if name == "tracking" else len(injections) + 1
        local.append(Script(name, trials, (), "undisturbed", injections))
    driver = [
        Injection("driver killed", moment, at, _nothing, None, delay)
        for moment, at, delay in (
            ("within a round", 1, 0.7),
            ("before the first point", 0, 0.0),
            ("as a trial ends", ROUNDS, 0.0),
        )
    ]
    runner = _thrice("env runner killed", "LeanEnvRunner")
    stock = _thrice("RLlib's env runner killed", "SingleAgentEnvRunner")
    learner = _thrice("learner killed", "_WrappedExecutable")
    runners, learners = ("resources.env_runners=1",), ("resources.learners=1",)
    count = 1 if brief else 3
    killed = [
        Script("undisturbed-runners", 2, runners, "undisturbed-runners"),
        Script("runners", 2, runners, "undisturbed-runners", runner[:count]),
        # They sample the same, and so a study with them finds the same.
        Script(
            "stock-runners",
            2,
            (*runners, "resources.runner=rllib"),
            "undisturbed-runners",
            stock[:count],
        ),
        Script("undisturbed-learners", 2, learners, "undisturbed-learners"),
        Script("learners", 2, learners, "undisturbed-learners", learner[:count]),
    ]
    drivers = sorted(driver[:count], key=lambda injection: injection.at)
    return [
        Script("undisturbed", max(script.trials for script in local)),
        local[0],
        *killed,
        *local[1:],
        Script("drivers", 2, (), "undisturbed", drivers),
    ]


def _thrice(kind: str, title: str) -> list[Injection]:
    """Kills a process of this title at three moments."""
    return [
        Injection(kind, moment, at, _kill(title), None, delay)
        for moment, at, delay in (
            ("within a round", 1, 0.5),
            ("as a round begins", 2, 0.0),
            ("in a trial's last round", 4, 0.2),
        )
    ]


def _nothing(world: World, study: str) -> None:
    """The driver is killed by whoever has started it."""


def _kill(title: str) -> Callable[[World, str], None]:
    return lambda world, study: world.kill(title)


def _pause(title: str) -> Callable[[World, str], None]:
    return lambda world, study: world.pause(title, 60.0)


def _fail_writes(world: World, study: str) -> None:
    world.failing.touch()


def _write(world: World, _: Any) -> None:
    world.failing.unlink()


def _tear(name: str) -> Callable[[World, str], None]:
    def tear(world: World, study: str) -> None:
        """Only the first half of the file is left."""
        path = world.storage / study / name
        os.truncate(path, path.stat().st_size // 2)

    return tear


def _lose(first: str) -> Callable[[World, str], None]:
    return lambda world, study: world.lose_node(first)


def _ask(kind: str) -> Callable[[World, str], None]:
    def ask(world: World, study: str) -> None:
        partial = world.mark.with_suffix(".partial")
        partial.write_text(kind, encoding="utf-8")
        partial.rename(world.mark)

    return ask


def _lock(world: World, study: str) -> Any:
    return lock(world.storage / study / "optuna.db")


def _unlock(world: World, held: Any) -> None:
    held.close()


def _fill(world: World, study: str) -> Any:
    return world.fill()


def _free(world: World, filler: Any) -> None:
    filler.unlink()


def _down(number: int) -> Callable[[World, str], None]:
    return lambda world, study: world.signal_server(number)


def _up(world: World, _: Any) -> None:
    world.kill_server()
    world.start_server()


def _go_on(world: World, _: Any) -> None:
    world.signal_server(signal.SIGCONT)
