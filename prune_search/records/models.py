"""What a study has measured, record by record: returns, points, trials, the baseline, the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import model_validator

from prune_search.plan.plan import Plan
from prune_search.records.reasons import BUDGET_USED, CUT_OFF
from prune_search.records.record import Record
from prune_search.records.returns import Return, retention_of, return_at


class BaselineRecord(Record):
    """The dense policy, as measured."""

    key: str
    """Hash of all that determines it; the name of its folder under <storage>/baselines."""
    determinants: dict[str, str] = {}
    """All of that by name; empty in records of earlier versions."""
    checkpoint: str
    """Absolute path of its RLlib checkpoint."""
    returned: Return
    """Greedy (or sampled, as the experiment says) return on the evaluation seeds."""
    random: Return
    """Return of uniformly random actions on the same seeds."""
    parameters: int
    """Parameters of the inference network."""
    weights: int
    """Of these, kernel entries (biases left out)."""
    stored_bytes: int | None = None
    """As of points."""
    compact_bytes: int | None = None
    """Likewise; without the critic, nothing else being superfluous in most networks."""
    env_steps: int
    """Env steps of its training; 0 when it was the user's checkpoint."""
    train_s: float
    """Seconds spent in RLlib's training and evaluation."""
    wrappers: list[dict[str, Any]] = []
    """What its environment is wrapped in, the first one innermost: the experiment's wrappers, and
    what makes observations and actions fit for networks."""
    checkpoint_steps: int = 0
    """Env steps that RLlib counts in the user's checkpoint; 0 when it was trained here."""
    sampled_by: str = ""
    """The env runner of its training, or of trainings that begin with it: `lean`, or `rllib: ` and
    why; empty where nothing is sampled, and in records of earlier versions."""
    updated_by: str = ""
    """Likewise what updates its networks: `lean`, `rllib`, or which part is whose."""
    notes: list[str] = []
    """What is to be known about it, a line each."""

    def retention(self, value: float) -> float:
        """Share of the baseline's gain over a random policy that a return keeps."""
        return retention_of(value, self.returned, self.random)

    def return_at(self, retention: float) -> float:
        """The return of a given retention."""
        return return_at(retention, self.returned, self.random)

    @property
    def scale(self) -> float:
        """Retention per return."""
        return 1.0 / (self.returned.value - self.random.value)


class ControlRecord(Record):
    """The baseline, trained on for a trial's budget with nothing pruned."""

    checkpoint: str
    """Absolute path of the RLlib checkpoint of its best round, which is taken as of trials."""
    returned: Return
    """That round's, on the evaluation seeds."""
    retention: float
    """Likewise."""
    round: int
    """Which one it is."""
    rounds: list[Return]
    """Of each round."""
    env_steps: int
    """Env steps in all, beyond the baseline's."""
    train_s: float
    """Seconds spent in training and evaluation."""


class Did(Record):
    """What the dynamic parts of a plan did, in a round or in a trial: counts."""

    prunings: int = 0
    """Times that something was removed: by the schedule, or by the gate."""
    regrowths_due: int = 0
    """Times that weights were to be dropped and others grown."""
    regrowths: int = 0
    """Of these, how often it was done."""
    regrown: int = 0
    """Weights that grew in them."""
    rewinds: int = 0
    """Times that weights, or the learning rate, were rewound."""
    quantized: int = 0
    """Weights that came to be held quantized, zeros among them."""
    gate_pruned: int = 0
    """Schedule gated: rounds that began with a higher ratio, ..."""
    gate_held: int = 0
    """... with the one before, ..."""
    gate_took_back: int = 0
    """... or with a lower one."""

    @staticmethod
    def total(each: Sequence[Did | None]) -> Did | None:
        """All of them together; None where one is unknown."""
        known = [did for did in each if did is not None]
        if len(known) < len(each):
            return None
        return Did(**{name: sum(getattr(did, name) for did in known) for name in Did.model_fields})


class Point(Record):
    """One round's result: achieved sparsity, evaluated return, cost, and its checkpoint."""

    trial: int
    round: int
    progress: float
    """Env steps used / the trial's env steps."""
    target: float
    """Ratio (criterion threshold: threshold) that the schedule asked for at the round's end."""
    sparsity: float
    """1 - nonzero / parameters of the inference network, biases counted."""
    weight_sparsity: float
    """Zero share of the inference network's kernels."""
    trained_sparsity: float
    """Zero share of everything that is trained, critic included."""
    parameters: int
    nonzero: int
    compression: float
    """parameters / nonzero."""
    layers: dict[str, float]
    """Zero share of each kernel of the inference network, by parameter name."""
    physical: int = 0
    """Parameters that the inference network in the checkpoint has, zeros among them."""
    macs: int | None = None
    """Multiply-accumulates of one action with that network, zeros multiplied as well."""
    bytes: int = 0
    """Storage of that network's parameters, zeros among them."""
    latency_us: float | None = None
    """Microseconds of one action with it, one thread; None where the search does not ask."""
    compact: int | None = None
    """Parameters after lossless compaction, which takes out units that no longer matter."""
    compact_nonzero: int | None = None
    """Of these, non-zero ones."""
    stored_bytes: int | None = None
    """Bytes of the policy's file in the checkpoint, critic and zeros among them; None in records
    of earlier versions."""
    compact_bytes: int | None = None
    """Bytes of the policy's file as `prune-search compact` writes it, with the acting network
    alone; None likewise."""
    packed_bytes: int | None = None
    """Bytes of the packed file, see docs/packed.md, with its network alone in it: what else a file
    says takes 100 or more. None where the plan does not quantize, or not yet."""
    cost_missing: dict[str, str] = {}
    """Which of these figures could not be had and so are None: why, by name. `compact` says it of
    `compact_nonzero` and `compact_bytes` too."""
    returned: Return
    return_pruned: float
    """Return at the round's start, after the pruning (and rewinding) that falls there."""
    return_training: float | None
    """Mean return of the training episodes (exploring) that ended in the round's last iteration."""
    retention: float
    env_steps: int
    """Env steps of the trial so far."""
    train_s: float
    """Seconds of RLlib's training in this round."""
    eval_s: float
    """Seconds of evaluation in this round."""
    time: float
    """When it was measured, seconds since the epoch."""
    checkpoint: str
    """Folder of its checkpoint, relative to the study's folder."""
    did: Did | None = None
    """What the plan's dynamic parts did in the round; None in records of earlier versions."""

    @property
    def name(self) -> str:
        """How the command line calls it: `t03/2`."""
        return f"{trial_name(self.trial)}/{self.round}"


class TrialRecord(Record):
    """One trial: its plan, how it stands, and its points so far."""

    number: int
    plan: Plan
    state: Literal["running", "complete", "stopped", "failed"]
    """Stopped: by the search before its end, and not taken up again."""
    reason: str = ""
    """Why it ended, in the words of `prune_search.records.reasons`, or what failed."""
    chosen_by: str = ""
    """What chose its plan: `first` (the file), `screening`, `probe`, `repeat` (another seed of a
    plan), or the sampler's name, after which `curves` says where it still drew at random; empty in
    records of earlier versions."""
    started: float
    """Seconds since the epoch."""
    points: list[Point] = []
    thawed: list[int] = []
    """Rounds, by number, with which it went on after it had been given up."""

    @model_validator(mode="before")
    @classmethod
    def _cut_off_is_not_complete(cls, fields: Any) -> Any:
        # As earlier versions have written it.
        if isinstance(fields, dict) and fields.get("reason") in CUT_OFF:
            return {**fields, "state": "stopped"}
        return fields

    @property
    def name(self) -> str:
        return trial_name(self.number)

    @property
    def ended(self) -> bool:
        """Whether it has come to an end of its own or by the search's decision."""
        return self.state in ("complete", "stopped")

    @property
    def lasted(self) -> bool:
        """Whether it has used its whole budget: it did not collapse, and nobody stopped it."""
        return bool(self.points) and self.points[-1].progress >= 1

    @property
    def collapsed(self) -> bool:
        """Whether it gave up by itself, before its budget was used."""
        return self.state == "complete" and not self.lasted

    @property
    def given_up(self) -> bool:
        """Whether it has ended before its plan has, by itself or by the search's decision."""
        return self.collapsed or (self.state == "stopped" and not self.cut_off)

    def going_on(self) -> TrialRecord:
        """The same, to be continued with its next round."""
        thawed = [*self.thawed, len(self.points)]
        return self.model_copy(update={"state": "running", "reason": "", "thawed": thawed})

    @property
    def cut_off(self) -> bool:
        """Whether the search's budget was used while it ran, which says nothing about its plan."""
        return self.state == "stopped" and self.reason in CUT_OFF

    @property
    def remark(self) -> str:
        """Why it ended, where its state does not say that already."""
        used = self.state == "complete" and self.reason == BUDGET_USED
        return "" if used else self.reason

    @property
    def env_steps(self) -> int:
        return self.points[-1].env_steps if self.points else 0

    @property
    def did(self) -> Did | None:
        """What its plan's dynamic parts did so far; None where a point doesn't say."""
        return Did.total([point.did for point in self.points])

    @property
    def env_steps_saved(self) -> int:
        """What it did not use of its budget because the search gave it up."""
        stopped = self.state == "stopped" and self.given_up
        return self.plan.env_steps - self.env_steps if stopped else 0

    @property
    def seconds(self) -> float:
        """Seconds spent in training and evaluation."""
        return sum(point.train_s + point.eval_s for point in self.points)


class StudyRecord(Record):
    """The study itself."""

    name: str
    started: float
    """Seconds since the epoch."""
    baseline: BaselineRecord | None = None
    control: ControlRecord | None = None
    """None until it is trained, or where none was asked for."""
    ended: float | None = None
    """When the search and the re-evaluation of its front were done."""
    wall_s: float = 0.0
    """Wall seconds of the command, all resumptions added up."""
    stages: dict[str, float] = {}
    """What `wall_s` is made of, by the stages of `records.stages`."""
    baseline_s: float = 0.0
    """RLlib seconds of the baseline; 0 when an earlier study had trained it."""
    control_s: float = 0.0
    """Likewise of the dense control, which takes a trial's place while it trains."""
    concurrent_trials: int = 1
    """Trials at a time."""
    trusted: dict[str, str] = {}
    """The pickles that the user trusts this study's experiment with; see `trust.pickles`."""


class FinalRecord(Record):
    """The front, re-evaluated on seeds that the search never saw."""

    baseline: Return
    random: Return
    points: dict[str, Return]
    """By the point's name."""
    control: Return | None = None
    """Of the dense control, where there is one."""

    def retention(self, value: float) -> float:
        """Share of the baseline's gain over a random policy that a return keeps, both on them."""
        return retention_of(value, self.baseline, self.random)


def trial_name(number: int) -> str:
    """`t03` for trial 3."""
    return f"t{number:02d}"
