"""The dense policy: trained once, or taken from the user's checkpoint, and kept for all studies."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prune_search.errors import (
    EnvironmentFault,
    NoBetterThanRandom,
    TrialError,
    UserError,
    one_line,
)
from prune_search.experiment.schema import Evaluation, Experiment
from prune_search.records.baselines import BaselineFolder
from prune_search.records.checkpoint import ALGORITHM, TRAINING
from prune_search.records.fronts import noise, well_posed
from prune_search.records.models import BaselineRecord
from prune_search.records.policy_files import stored_bytes
from prune_search.records.returns import Return
from prune_search.rllib.checkpoints import saving
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import steps_of
from prune_search.rllib.evaluation.cost import policy_cost
from prune_search.rllib.evaluation.evaluator import LOOK, Evaluator
from prune_search.rllib.learners.schedules import follow
from prune_search.rllib.recovery import moments
from prune_search.rllib.runners.choice import build, sampled_by, updated_by
from prune_search.rllib.running import (
    TRAINING_SEEDS,
    env_steps,
    process_settings,
    reseed,
    settle,
    sync_weights,
    train,
    training_seed,
)
from prune_search.sparsity.sizes import size
from prune_search.storage.mirror import Mirror
from prune_search.trial.algorithm import measure
from prune_search.trial.baselines.determinants import determinants, key

_SAVE_EVERY_S = 30.0
_LEGS = 20  # of a baseline's training, or fewer:
_LEAST_OF_A_LEG = 1_000  # env steps of each environment
_STREAM = 2**31  # of the seeds of legs; those of rounds have their number here


@dataclass(frozen=True)
class BaselineProgress:
    """How far the baseline's training is."""

    env_steps: int
    training_return: float | None
    done: bool
    budget: int
    """Env steps at which it ends at the latest."""
    note: str = ""
    """What a look at it has found, where the user is to know."""


def baseline_key(experiment: Experiment) -> str:
    """Hash of all that determines a baseline and its measured return."""
    return key(determinants(experiment))


def baseline_folder(storage: Path, experiment: Experiment) -> BaselineFolder:
    """The baseline's folder; it has a record if an earlier study has trained it."""
    mirror = Mirror(storage, experiment.mirror)
    return BaselineFolder.keyed(storage, baseline_key(experiment), mirror)


def train_baseline(
    storage: Path, experiment: Experiment
) -> Iterator[BaselineProgress | BaselineRecord]:
    """Trains the baseline, as a task of Ray's: its process is there for the tasks that follow.

    Yields:
        What each step came to, and at last the record.

    Raises:
        UserError: as `BaselineTrainer`; or a loss is not finite, or what the environment returned.
            Trained again it would be the same, or worse: not be met for a while.
    """
    trainer, done = BaselineTrainer(storage, experiment), False
    try:
        while not done:
            progress = trainer.step()
            done = progress.done
            yield progress
        yield trainer.finish()
    except EnvironmentFault as fault:
        raise UserError(str(fault)) from None
    except TrialError as error:
        raise UserError(
            f"baseline: its training has failed: {error}; mend the environment, or change"
            " algorithm.training"
        ) from None
    finally:
        trainer.stop()


def followed(
    training: Iterable[BaselineProgress | BaselineRecord],
    tell: Callable[[BaselineProgress], None],
) -> BaselineRecord:
    """Follows `train_baseline` to its end, where it ends RLlib's processes: what it ends with.

    Args:
        training: what it yields.
        tell: is told of each step.
    """
    record = None
    for news in training:
        if isinstance(news, BaselineRecord):
            record = news
        else:
            tell(news)
    if record is None:
        raise RuntimeError("baseline: its training ended without a record")
    return record


class BaselineTrainer:
    """Trains the baseline, or takes it over, and measures it.

    Training goes in legs of env steps. What a leg does depends on the state at its beginning and
    on its seed alone, and states are kept at ends of legs only; so a training that was killed goes
    on from the last that was kept, and ends with the weights that it would have had, bit for bit.
    That holds with one env runner and learner, but not where RLlib updates in a thread of its own
    (IMPALA, APPO). Recorded episodes can't be taken up in their midst: learning from them begins
    anew.

    Looks at the policy on its way have evaluation seeds of their own and leave no trace.
    """

    def __init__(self, storage: Path, experiment: Experiment) -> None:
        process_settings(experiment.resources.threads)
        self._experiment = experiment
        self._determinants = determinants(experiment)
        self._folder = BaselineFolder.keyed(
            storage, key(self._determinants), Mirror(storage, experiment.mirror)
        )
        self._path = self._folder.path
        self._path.mkdir(parents=True, exist_ok=True)
        settings, resources = experiment.baseline, experiment.resources
        config = algorithm_config(experiment, settings.seed % TRAINING_SEEDS)
        self._algorithm = build(config)
        self._stopped = False
        self._evaluator = Evaluator(config, experiment.evaluation)
        self._train_s = 0.0
        self._random: Return | None = None  # of looks
        self._saved = time.monotonic()
        if settings.checkpoint:
            self._load(Path(settings.checkpoint).expanduser())
        elif self._folder.partial.is_dir():
            self._go_on()
        else:
            self._keep("initial")
            if experiment.baseline.early == 0:
                self._keep("early")
        environments = resources.envs_per_env_runner * max(1, resources.env_runners)
        self._leg_steps = max(-(-settings.env_steps // _LEGS), _LEAST_OF_A_LEG * environments)
        self._leg = -1  # the one for which sampling has begun
        steps = env_steps(self._algorithm)
        # One that ended no better than random actions gets as many env steps again.
        self._end = settings.env_steps * (steps // settings.env_steps + 1)
        self._looks = self._looks_due(steps)

    def _go_on(self) -> None:
        """Takes up the training that an earlier process began."""
        saving.load(self._algorithm, self._folder.partial / ALGORITHM)
        sync_weights(self._algorithm)
        training = json.loads((self._folder.partial / TRAINING).read_text(encoding="utf-8"))
        self._train_s = float(training["train_s"])

    def _looks_due(self, steps: int) -> int:
        """How many looks there are in so many env steps: ten in `baseline.env_steps` where they
        can end it, else two, of which one is where it ends."""
        settings = self._experiment.baseline
        return steps * (2 if settings.until_return is None else 10) // settings.env_steps

    def _keep(self, moment: str) -> None:
        """Keeps this moment of the training, for rewinding."""
        moments.keep(self._algorithm, self._path, moment)

    def _load(self, path: Path) -> None:
        try:
            self._algorithm.restore_from_path(path.resolve())  # RLlib takes no relative one
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
            TrialError: a loss is not finite, or what the environment returned.
        """
        settings = self._experiment.baseline
        if settings.checkpoint:
            return BaselineProgress(0, None, True, 0)
        before, clock = env_steps(self._algorithm), time.monotonic()
        leg = before // self._leg_steps
        if leg != self._leg:
            reseed(self._algorithm, self._seed(leg))
            self._leg = leg
            follow(self._algorithm)
        elif self._algorithm.offline_data is not None:
            follow(self._algorithm)  # RLlib counts no env steps there
        result = train(self._algorithm)
        self._train_s += time.monotonic() - clock
        steps = env_steps(self._algorithm)
        if steps <= before:
            raise RuntimeError("baseline: no env steps were sampled; its env runners are lost")
        if before < settings.early * settings.env_steps <= steps:
            self._keep("early")
        done, note = steps >= self._end, ""
        if self._looks_due(steps) > self._looks and not (done and settings.until_return is None):
            reached, note = self._look(steps)
            done = done or reached
        self._looks = self._looks_due(steps)
        kept = self._algorithm.offline_data is None and steps // self._leg_steps > leg
        if not done and kept and time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._save_partial()
        returned = result["env_runners"].get("episode_return_mean")
        return BaselineProgress(steps, returned, done, self._end, note)

    def _seed(self, leg: int) -> int:
        """Seed of a leg."""
        return training_seed(self._experiment.baseline.seed, leg, _STREAM)

    def _look(self, steps: int) -> tuple[bool, str]:
        """Whether the policy has `baseline.until_return` by now; what the user is to know of it."""
        evaluation = self._experiment.evaluation.model_copy(update={"seed": LOOK})
        returned = self._measure(evaluation)
        if self._random is None:
            self._random = self._evaluator.measure(LOOK, evaluation.episodes, random=True)
        note, enough = "", self._experiment.baseline.until_return
        if returned.value <= self._random.value:
            note = (
                f"baseline: after {steps:,} of {self._end:,} env steps it returns"
                f" {returned.value:.1f}, no better than random actions, {self._random.value:.1f}"
            )
        return enough is not None and returned.value >= enough, note

    def _played(self) -> list[str]:
        """What is to be known about how the study's episodes are sampled and played."""
        sampled, _, why_sampled = sampled_by(self._algorithm).partition(": ")
        if sampled != "rllib" or self._experiment.resources.runner == "rllib":
            why_sampled = ""
        reasons = {"sampled": why_sampled, "evaluated": self._evaluator.obstacle()}
        return [
            f"{done} by RLlib's env runner, which takes several times as long: {why}"
            for done, why in reasons.items()
            if why
        ]

    def finish(self) -> BaselineRecord:
        """Measures and keeps the baseline.

        Raises:
            NoBetterThanRandom: retention would mean nothing. Its state is kept, and the next
                trainer goes on with it, for `baseline.env_steps` more.
            UserError: the same of a user's checkpoint.
            EnvironmentFault: the environment returned what is not finite.
        """
        settle(self._algorithm)  # what is measured and what is saved is one state
        trained, steps = self._experiment.baseline.checkpoint is None, env_steps(self._algorithm)
        evaluation = self._experiment.evaluation
        returned = self._measure(evaluation)
        acting = size(self._evaluator.named_parameters())
        wrappers = steps_of(self._algorithm.config.env) if self._algorithm.config else []
        record = BaselineRecord(
            key=self._path.name,
            determinants=self._determinants,
            checkpoint=str(self._path / ALGORITHM),
            returned=returned,
            random=self._evaluator.measure(evaluation.seed, evaluation.episodes, random=True),
            parameters=acting.parameters,
            weights=acting.weights,
            env_steps=steps if trained else 0,
            train_s=self._train_s,
            wrappers=wrappers,
            checkpoint_steps=0 if trained else steps,
            sampled_by=sampled_by(self._algorithm),
            updated_by=updated_by(self._algorithm),
            notes=[*([] if trained else saving.lacking(self._algorithm)), *self._played()],
        )
        record = record.model_copy(update={"notes": [*record.notes, *noise(record)]})
        if well_posed(record):
            saving.save(self._algorithm, self._path)
            record = record.model_copy(
                update={
                    "stored_bytes": stored_bytes(Path(record.checkpoint)),
                    "compact_bytes": policy_cost(self._evaluator.modules()).compact_bytes,
                }
            )
            self._folder.write(record)
        elif trained:
            self._save_partial()
        self.stop()
        if well_posed(record):
            return record
        found = (
            f"baseline: its return, {returned.value:.1f}, is no better than that of random actions,"
            f" {record.random.value:.1f}"
        )
        if not trained:
            raise UserError(f"{found}; retention would mean nothing")
        raise NoBetterThanRandom(
            f"{found}, after {steps:,} env steps; change algorithm.training, or have it trained for"
            f" another {self._experiment.baseline.env_steps:,}: it is kept in"
            f" {str(self._folder.partial)!r}"
        )

    def stop(self) -> None:
        """Ends RLlib's processes; may be called again."""
        if not self._stopped:
            self._stopped = True
            self._algorithm.stop()

    def _measure(self, evaluation: Evaluation) -> Return:
        clock = time.monotonic()
        returned = measure(self._algorithm, self._evaluator, evaluation)
        self._train_s += time.monotonic() - clock
        return returned

    def _save_partial(self) -> None:
        """Keeps all that the training needs to go on."""
        temporary = self._path / f".{self._folder.partial.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        saving.save(self._algorithm, temporary)
        training = json.dumps({"train_s": self._train_s})
        (temporary / TRAINING).write_text(training, encoding="utf-8")
        shutil.rmtree(self._folder.partial, ignore_errors=True)
        temporary.rename(self._folder.partial)
        self._saved = time.monotonic()
