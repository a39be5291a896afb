"""Runs the studies, injects the faults, and says what became of every point."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front
from tests.faults.kinds import ROUNDS, Injection, Script, scripts
from tests.faults.world import World, wait_for
from tuners.display.live import Progress
from tuners.search.database import states
from tuners.study import driver as study
from tuners.study.creation import create

TIMING = {"time", "train_s", "eval_s"}
LONGEST_S = 900.0  # that a study may stand still

EXPERIMENT = """
environment: {id: Faulty-v0, modules: [tests.faults.environments]}
algorithm:
  training: {lr: 0.002, train_batch_size_per_learner: 512, minibatch_size: 128, num_epochs: 2,
             grad_clip: 0.5, vf_clip_param: .inf}
  model: {fcnet_hiddens: [16, 16], fcnet_activation: tanh, vf_share_layers: false}
baseline: {env_steps: 6000, control: false}
pruning: {criterion: [magnitude, saliency], floor: 0.0, patience: 100}  # no trial is given up
search: {stopping: null, retries: 60}
evaluation: {episodes: 4, final_episodes: 4, envs: 4}
resources: {envs_per_env_runner: 8, concurrent_trials: 1, memory_gb: 2.2}
"""


@dataclass
class Outcome:
    """What became of one injection."""

    study: str
    injection: Injection
    before: int
    """Points when it was injected."""
    told: list[str]
    after: int = 0
    lost: int = 0
    doubled: int = 0
    equal: bool = False
    """Whether points and final front are those of the undisturbed study."""

    @property
    def good(self) -> bool:
        return bool(self.told) and not self.lost and not self.doubled and self.equal


class Heard(Progress):
    """Keeps what the user is told."""

    def __init__(self, experiment: Experiment, folder: StudyFolder) -> None:
        super().__init__(experiment, folder.name, folder.trials(), Console(file=io.StringIO()))
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        super().note(text)


def run_all(
    folder: Path,
    brief: bool,
    round_s: float,
    say: Callable[[str], None],
    only: Sequence[str] = (),
) -> Iterator[list[Outcome]]:
    """Runs everything, one study after another, on one cluster; what became of each.

    Args:
        folder: an empty one.
        brief: one injection of each kind.
        round_s: `search.round_s`, well above what a round takes here.
        say: gets lines of progress.
        only: names of studies; all where there is none.
    """
    import ray

    world = World(folder, tracked=True)
    try:
        ray.init(address=world.cluster.address, log_to_driver=False, logging_level="CRITICAL")
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        chosen = _chosen(scripts(brief, world.mounted, world.can_fail_writes), only)
        for script in chosen:
            begun = time.monotonic()
            found = _Study(world, script, round_s, say).run()
            say(f"{script.name}: {len(found)} injections, {time.monotonic() - begun:.0f} s")
            yield found
    finally:
        ray.shutdown()
        world.close()


def _chosen(known: Sequence[Script], only: Sequence[str]) -> list[Script]:
    """The studies of these names, each undisturbed one no longer than those it is compared with."""
    chosen = [script for script in known if not only or script.name in only]
    longest = Counter[str]()
    for script in chosen:
        if script.injections:
            longest[script.reference] = max(longest[script.reference], script.trials)
    return [replace(one, trials=longest[one.name] or one.trials) for one in chosen]


class _Study:
    def __init__(
        self, world: World, script: Script, round_s: float, say: Callable[[str], None]
    ) -> None:
        self._world, self._script, self._say = world, script, say
        self._experiment = experiment_file.parse(
            EXPERIMENT,
            [
                f"storage={world.storage}",
                f"environment.config.mark={world.mark}",
                f"search.trials={script.trials}",
                f"search.round_s={round_s}",
                f"pruning.rounds={ROUNDS}",
                f"pruning.env_steps={1_000 * ROUNDS}",
                f"tracking.uri={world.uri}",
                *script.overrides,
            ],
        )
        self._folder = StudyFolder(world.storage, script.name)
        self._failed: BaseException | None = None

    def run(self) -> list[Outcome]:
        self._folder = create(self._experiment, self._script.name, "")
        if self._script.injections and self._script.injections[0].kind == "driver killed":
            outcomes = self._killed_drivers()
        else:
            outcomes = self._injected()
        return self._judged(outcomes)

    def _points(self) -> dict[tuple[int, int], dict[str, Any]]:
        return {(p.trial, p.round): p.model_dump() for t in self._folder.trials() for p in t.points}

    def _drive(self, heard: Heard) -> None:
        try:
            study.run(self._folder, self._experiment, heard)
        except BaseException as error:
            self._failed = error

    def _injected(self) -> list[tuple[Outcome, dict[Any, Any]]]:
        heard = Heard(self._experiment, self._folder)
        thread = threading.Thread(target=self._drive, args=[heard], daemon=True)
        thread.start()
        outcomes = []
        for injection in self._script.injections:
            self._await(lambda i=injection: len(self._points()) >= i.at and self._begun(), thread)
            time.sleep(injection.delay)
            known, notes = self._points(), len(heard.notes)
            held = injection.do(self._world, self._folder.name)
            told = wait_for(lambda n=notes: heard.notes[n:], 240)
            if injection.undo:
                time.sleep(1)
                injection.undo(self._world, held)
                if injection.kind.startswith("MLflow"):  # which is told once for each time
                    wait_for(lambda n=notes: "MLflow is back" in " ".join(heard.notes[n:]), 120)
            # The next fault is for a trial that has gone on.
            self._await(lambda k=known: len(self._points()) > len(k), thread)
            told = list(dict.fromkeys(heard.notes[notes:] or told or []))
            self._say(f"  {injection.kind}, {injection.moment}, at {len(known)} points: {told}")
            outcomes.append((Outcome(self._folder.name, injection, len(known), told), known))
        self._await(lambda: not thread.is_alive(), thread)
        if self._failed is not None:
            raise self._failed
        return outcomes

    def _begun(self) -> bool:
        """Whether a trial runs: there is one as soon as the baseline is trained."""
        return any(t.state == "running" for t in self._folder.trials()) or bool(self._points())

    def _killed_drivers(self) -> list[tuple[Outcome, dict[Any, Any]]]:
        outcomes = []
        for injection in self._script.injections:
            storage = str(self._world.storage)
            driver = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tuners.cli", "resume", self._folder.name),
                    *("--storage", storage, "--address", self._world.cluster.address),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            wait_for(lambda i=injection: len(self._points()) >= i.at and self._begun(), LONGEST_S)
            time.sleep(injection.delay)
            driver.kill()
            driver.wait()
            # Its trial follows it at once; what it writes until then counts as well.
            wait_for(lambda: not self._world.workers("ResourceTrainable"), 60)
            known = self._points()
            told = ["(by the shell: Killed); `prune-search resume` goes on"]
            self._say(f"  driver killed, {injection.moment}, at {len(known)} points")
            outcomes.append((Outcome(self._folder.name, injection, len(known), told), known))
        self._drive(Heard(self._experiment, self._folder))
        if self._failed is not None:
            raise self._failed
        return outcomes

    def _await(self, condition: Callable[[], Any], thread: threading.Thread) -> None:
        if not wait_for(lambda: condition() or not thread.is_alive(), LONGEST_S):
            raise TimeoutError(f"{self._folder.name} stands still at {len(self._points())} points")

    def _judged(self, outcomes: list[tuple[Outcome, dict[Any, Any]]]) -> list[Outcome]:
        points = [p for t in self._folder.trials() for p in t.points]
        counted = Counter((p.trial, p.round) for p in points)
        doubled = sum(counted.values()) - len(counted) + self._doubled_in_mlflow()
        equal = self._equal(StudyFolder(self._world.storage, self._script.reference))
        final = self._points()
        for outcome, known in outcomes:
            outcome.after, outcome.doubled, outcome.equal = len(points), doubled, equal
            outcome.lost = sum(final.get(key) != point for key, point in known.items())
        return [outcome for outcome, _ in outcomes]

    def _doubled_in_mlflow(self) -> int:
        """Rounds that MLflow has more than once, or not at all, and runs too many."""
        import mlflow

        client = mlflow.MlflowClient(self._world.uri)
        (experiment,) = client.search_experiments(filter_string="name = 'prune-search'")
        runs = client.search_runs([experiment.experiment_id], f"tags.study = '{self._folder.name}'")
        wrong = abs(len(runs) - 1 - self._script.trials)
        by_trial = {run.data.tags.get("trial"): run.info.run_id for run in runs}
        for trial in self._folder.trials():
            run_id = by_trial.get(trial.name)
            logged = client.get_metric_history(run_id, "rounds/return") if run_id else []
            wrong += abs(len(logged) - len(trial.points))
        return wrong

    def _equal(self, reference: StudyFolder) -> bool:
        """Complete, and its points, front and final measurements are the undisturbed study's."""

        def figures(folder: StudyFolder) -> list[Any]:
            trials = folder.trials()[: self._script.trials]
            return [p.model_dump(exclude=TIMING) for t in trials for p in t.points]

        trials, then = self._folder.trials(), reference.trials()[: self._script.trials]
        final, finals = self._folder.final(), reference.final()
        if final is None or finals is None:
            return False
        ours = front(p for t in trials for p in t.points)
        theirs = front(p for t in then for p in t.points)
        told = states(self._folder).values()
        return (
            [t.state for t in trials] == ["complete"] * self._script.trials
            and all(state.name == "COMPLETE" for state in told)
            and figures(self._folder) == figures(reference)
            and [p.name for p in ours] == [p.name for p in theirs]
            and all(
                final.points[name] == finals.points[name]
                for name in final.points.keys() & finals.points.keys()
            )
            and set(final.points) == {p.name for p in ours}
        )
