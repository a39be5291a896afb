"""Where RLlib's schedules are: learning rates, entropy coefficients, DQN's epsilon.

RLlib writes a schedule as ``[[env step, value], ...]`` and counts the env steps of an algorithm's
whole life. It moves learning rates and entropy coefficients after an update and never before the
first one, so that whatever is built or restored starts with the values of env step 0, or with
those that an optimizer brought along; for recorded episodes it passes no env steps at all. Here
schedules are brought to where they belong, and a trial has a clock of its own for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.schedules.scheduler import Scheduler

from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.running import each_learner, env_steps


@dataclass(frozen=True)
class Clock:
    """Maps the env steps of an algorithm's life to those that its schedules are read at.

    The default one is RLlib's: they are the same.
    """

    since: int = 0
    """Env step of the algorithm's life from which the clock runs."""
    position: float = 0.0
    """Env step that the schedules are at then."""
    rate: float = 1.0
    """Env steps of the schedules in one of the algorithm's."""

    def at(self, steps: int) -> float:
        """The env step that schedules are read at, after so many of the algorithm's life."""
        return self.position + max(0, steps - self.since) * self.rate


def follow(algorithm: Algorithm, clock: Clock = Clock(), rates: Clock | None = None) -> None:
    """Brings every schedule to the present env step, and lets it follow the clock from there.

    Values that are no schedules are set as configured: restored optimizers bring their own
    learning rates. Call it whenever an algorithm was built or restored, or a network was replaced.

    Args:
        algorithm: built.
        clock: of all schedules.
        rates: of the learning rates, where these have a clock of their own.
    """
    now = env_steps(algorithm)
    held = now if algorithm.offline_data is not None else None

    def on_learner(learner: Any) -> None:
        for optimizer in optimizers(learner):
            schedule = learner._optimizer_lr_schedules.get(optimizer)
            if schedule is not None:
                rate = _bring(schedule, rates or clock, now, held)
                for group in optimizer.param_groups:
                    group["lr"] = rate
        coefficients = getattr(learner, "entropy_coeff_schedulers_per_module", None)
        if coefficients is not None:
            for name in learner.module.keys():  # noqa: SIM118
                _bring(coefficients[name], clock, now, held)

    def on_runner(runner: EnvRunner) -> None:
        runner.num_env_steps_sampled_lifetime = now  # remote ones begin at 0 after a restore
        for schedule in _of_modules(getattr(runner, "module", None)):
            _bring(schedule, clock, now, held)

    each_learner(algorithm, on_learner)
    if algorithm.env_runner_group is not None and held is None:
        algorithm.env_runner_group.foreach_env_runner(on_runner)


class TrialSchedules:
    """The clock of one trial's schedules.

    With `own`, they run over the trial as they ran over the baseline's training, from their first
    value to their last, however long the trial is (Le & Hua 2021, Network pruning that matters: a
    case study on retraining variants, section 3: scaled learning rate restarting). Else they go
    on where the baseline's training ended, env step by env step.

    Args:
        algorithm: built.
        start: env steps that it counts as the trial begins.
        own: see above.
        length: env steps of the baseline's training that schedules are stretched from; 0 where
            it is not known: they are not stretched then.
        budget: env steps of the trial.
    """

    def __init__(
        self, algorithm: Algorithm, start: int, *, own: bool, length: int, budget: int
    ) -> None:
        self._algorithm, self._start, self._own = algorithm, start, own
        self._length = length or budget
        self.clock = self._from(0, 0, budget) if own else Clock()
        self._rates: Clock | None = None

    @property
    def steps(self) -> int:
        """Env steps of the trial so far."""
        return env_steps(self._algorithm) - self._start

    def rewind(self, position: int, end: int) -> None:
        """Schedules go back to an env step of the baseline's training.

        The trial's own go on from there to their end.

        Args:
            position: env step of the baseline's training.
            end: env step of the trial at which they are at their end.
        """
        self.clock = self._from(position, self.steps, end)
        self.follow()

    def replay_rates(self, begin: int, position: int) -> None:
        """Learning rates go through the end of the baseline's schedule; other schedules go on.

        Learning-rate rewinding (Renda, Frankle & Carbin 2020, Comparing rewinding and fine-tuning
        in neural network pruning, section 3): each retraining goes through as many of the
        schedule's last env steps as it has itself, while weights stay as they are.

        Args:
            begin: env step of the trial at which the retraining began.
            position: env step of the baseline's training that rates were at then.
        """
        rates = Clock(self._start + begin, position)
        if rates != self._rates:
            self._rates = rates
            self.follow()

    def follow(self) -> None:
        """Brings the algorithm's schedules to where they belong; see `follow`."""
        follow(self._algorithm, self.clock, self._rates)

    def state_dict(self) -> dict[str, float]:
        """The clock, as numbers. That of rewound rates is set anew by each round."""
        return asdict(self.clock)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.clock = Clock(**state)

    def _from(self, position: int, begin: int, end: int) -> Clock:
        rate = 1.0
        if self._own:
            rate = max(0, self._length - position) / max(1, end - begin)
        return Clock(self._start + begin, position, rate)


class _Clocked:
    """One of RLlib's schedules, read by a clock; at a given env step where RLlib passes none."""

    def __init__(self, schedule: Any, clock: Clock, steps: int | None) -> None:
        self.schedule, self._clock, self._steps = schedule, clock, steps

    def value(self, t: int) -> float:
        steps = t if self._steps is None else self._steps
        return float(self.schedule.value(t=self._clock.at(steps)))


def _bring(scheduler: Scheduler, clock: Clock, now: int, held: int | None) -> Any:
    """The scheduler's value now, which it has afterwards."""
    if scheduler.use_schedule:
        schedule = scheduler._schedule
        plain = schedule.schedule if isinstance(schedule, _Clocked) else schedule
        scheduler._schedule = _Clocked(plain, clock, held)
    return scheduler.update(timestep=now)


def _of_modules(module: Any) -> Iterator[Scheduler]:
    """Schedules that an env runner's networks explore by."""
    if isinstance(module, MultiRLModule):
        for each in module._rl_modules.values():
            yield from _of_modules(each)
    elif module is not None:
        yield from (value for value in vars(module).values() if isinstance(value, Scheduler))
