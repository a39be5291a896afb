"""The dense policy: trained once, or taken from the user's checkpoint, and kept for all studies."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import ray
import torch

from prune_search.errors import UserError, one_line
from prune_search.experiment import Experiment
from prune_search.mirror import Mirror
from prune_search.pareto import well_posed
from prune_search.record import BASELINE_FILE, BaselineRecord, Return
from prune_search.sparsity.measure import size
from prune_search.training import learner
from prune_search.training.algorithm import (
    TRAINING_SEEDS,
    algorithm_config,
    env_steps,
    process_settings,
    reseed,
    sync_weights,
)
from prune_search.training.environments import steps_of
from prune_search.training.evaluation import Evaluator
from prune_search.training.replay import REPLAY, load_replay, save_replay
from prune_search.training.rewinding import WEIGHTS
from prune_search.training.rounds import measure

_SAVE_EVERY_S = 30.0
_OF_NO_BASELINE = {"final_episodes", "final_seed", "holds_at"}  # fields of evaluation


@dataclass(frozen=True)
class BaselineProgress:
    """How far the baseline's training is."""

    env_steps: int
    training_return: float | None
    done: bool


def baseline_key(experiment: Experiment) -> str:
    """Hash of all that determines a baseline and its measured return."""
    checkpoint = experiment.baseline.checkpoint
    determinants = {
        "environment": experiment.environment.model_dump(),
        "algorithm": experiment.algorithm.model_dump(),
        "baseline": experiment.baseline.model_dump(exclude={"control"}),
        "evaluation": experiment.evaluation.model_dump(exclude=_OF_NO_BASELINE),
        "resources": experiment.resources.model_dump(
            include={"env_runners", "envs_per_env_runner", "learners"}
        ),
        "checkpoint": _digest(Path(checkpoint)) if checkpoint else None,
        "versions": [ray.__version__, torch.__version__],
    }
    text = json.dumps(determinants, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def baseline_path(storage: Path, experiment: Experiment) -> Path:
    """The baseline's folder."""
    return storage / "baselines" / baseline_key(experiment)


def cached_baseline(storage: Path, experiment: Experiment) -> BaselineRecord | None:
    """The baseline, if an earlier study has it already."""
    path = baseline_path(storage, experiment)
    Mirror(storage, experiment.mirror).fetch(path, BASELINE_FILE)
    return BaselineRecord.read(path / BASELINE_FILE)


class BaselineTrainer:
    """Trains the baseline, or takes it over, and measures it. Runs as a Ray actor or by itself."""

    def __init__(self, storage: Path, experiment: Experiment) -> None:
        process_settings(experiment.resources.threads)
        self._experiment = experiment
        self._path = baseline_path(storage, experiment)
        self._path.mkdir(parents=True, exist_ok=True)
        self._mirror = Mirror(storage, experiment.mirror)
        seed = experiment.baseline.seed % TRAINING_SEEDS
        config = algorithm_config(experiment, seed)
        self._algorithm = config.build_algo()
        self._evaluator = Evaluator(config, experiment.evaluation)
        self._train_s, self._checks = 0.0, 0
        self._saved = time.monotonic()
        if experiment.baseline.checkpoint:
            self._load(Path(experiment.baseline.checkpoint).expanduser())
        elif self._partial.is_dir():
            self._algorithm.restore_from_path(self._partial)
            load_replay(self._algorithm, self._partial / REPLAY)
            sync_weights(self._algorithm)
            reseed(self._algorithm, (seed + env_steps(self._algorithm)) % TRAINING_SEEDS)
        else:
            self._keep("initial")
            if experiment.baseline.early == 0:
                self._keep("early")

    def _keep(self, moment: str) -> None:
        """Keeps the weights of this moment, for rewinding."""
        torch.save(learner.weights(self._algorithm), self._path / WEIGHTS[moment])

    @property
    def _partial(self) -> Path:
        return self._path / "partial"

    def _load(self, path: Path) -> None:
        try:
            self._algorithm.restore_from_path(path)
        except Exception as error:
            raise UserError(
                f"baseline.checkpoint: {str(path)!r} does not fit the environment and algorithm"
                f" of the experiment: {one_line(error)}"
            ) from None
        sync_weights(self._algorithm)

    def step(self) -> BaselineProgress:
        """One training iteration; none for a user's checkpoint.

        Raises:
            RuntimeError: no env steps were sampled.
        """
        settings = self._experiment.baseline
        if settings.checkpoint:
            return BaselineProgress(0, None, True)
        before, clock = env_steps(self._algorithm), time.monotonic()
        result = self._algorithm.train()
        self._train_s += time.monotonic() - clock
        steps = env_steps(self._algorithm)
        if steps <= before:
            raise RuntimeError("baseline: no env steps were sampled; its env runners are lost")
        if before < settings.early * settings.env_steps <= steps:
            self._keep("early")
        done = steps >= settings.env_steps
        if settings.until_return is not None and steps * 10 // settings.env_steps > self._checks:
            self._checks = steps * 10 // settings.env_steps
            done = done or self._measure().value >= settings.until_return
        if not done and time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._save(self._partial)
            self._saved = time.monotonic()
        return BaselineProgress(steps, result["env_runners"].get("episode_return_mean"), done)

    def finish(self) -> BaselineRecord:
        """Measures and keeps the baseline.

        Raises:
            UserError: it is no better than random actions, so that retention would mean nothing.
        """
        checkpoint = self._path / "algorithm"
        self._save(checkpoint)
        trained = self._experiment.baseline.checkpoint is None
        if trained:  # a user's checkpoint comes without its replay buffer
            save_replay(self._algorithm, self._path / REPLAY)
        evaluation = self._experiment.evaluation
        returned = self._measure()
        acting = size(self._evaluator.parameters())
        wrappers = steps_of(self._algorithm.config.env) if self._algorithm.config else []
        record = BaselineRecord(
            key=self._path.name,
            checkpoint=str(checkpoint),
            returned=returned,
            random=self._evaluator.measure(evaluation.seed, evaluation.episodes, random=True),
            parameters=acting.parameters,
            weights=acting.weights,
            env_steps=env_steps(self._algorithm) if trained else 0,
            train_s=self._train_s,
            wrappers=wrappers,
        )
        self._algorithm.stop()
        if not well_posed(record):
            raise UserError(
                f"baseline: its return, {returned.value:.1f}, is no better than that of random"
                f" actions, {record.random.value:.1f}; train it longer (baseline.env_steps) or"
                " change algorithm.training"
            )
        record.write(self._path / BASELINE_FILE)
        shutil.rmtree(self._partial, ignore_errors=True)
        self._mirror.push(self._path)
        return record

    def _measure(self) -> Return:
        clock = time.monotonic()
        returned = measure(self._algorithm, self._evaluator, self._experiment.evaluation)
        self._train_s += time.monotonic() - clock
        return returned

    def _save(self, path: Path) -> None:
        temporary = path.with_name(f".{path.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        self._algorithm.save_to_path(temporary)
        save_replay(self._algorithm, temporary / REPLAY)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(item for item in path.expanduser().rglob("*") if item.is_file()):
        digest.update(file.relative_to(path.expanduser()).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
