"""The experiment file: what a study trains, prunes, searches and records.

The models below are the only source of the file's names, defaults and help. Every key that they
do not know is refused, and every message names the field, what was given and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from typing_extensions import TypeAliasType

Granularity = Literal["weight", "neuron"]
CriterionName = Literal["magnitude", "threshold", "random", "gradient", "saliency"]
Origin = Literal["baseline", "scratch"]
Allocation = Literal["uniform", "global", "erk"]
Scope = Literal["actor", "critic", "both"]
ScheduleName = Literal["one_shot", "linear", "cubic", "geometric"]
Objective = Literal[
    "return", "retention", "sparsity", "compression", "hypervolume", "sparsity_95", "sparsity_99"
]

T = TypeVar("T")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Range(_Section):
    """A range to search: `{low: 0.5, high: 0.99}`, ends included."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    log: bool = False
    """Sample the logarithm evenly; for ratios the logarithm of the density, 1 - ratio."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low={self.low:g}, high={self.high:g}")
        return self


def _form(value: Any) -> str:
    if isinstance(value, Mapping | Range):
        return "range"
    return "choices" if isinstance(value, list | tuple) else "value"


# A fixed value, a list of choices, or (for numbers) a range.
Choice = TypeAliasType(
    "Choice",
    Annotated[
        Annotated[T, Tag("value")]
        | Annotated[Annotated[list[T], Field(min_length=1)], Tag("choices")],
        Discriminator(_form),
    ],
    type_params=(T,),
)
Searchable = TypeAliasType(
    "Searchable",
    Annotated[
        Annotated[T, Tag("value")]
        | Annotated[Annotated[list[T], Field(min_length=1)], Tag("choices")]
        | Annotated[Range, Tag("range")],
        Discriminator(_form),
    ],
    type_params=(T,),
)

Ratio = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]
# Evaluation seeds become blocks of 100,000 environment seeds above 2**30; see evaluation_seeds.
EvaluationSeed = Annotated[int, Field(ge=0, lt=10_000)]


class Environment(_Section):
    """The task."""

    id: str
    """Gymnasium's id of the environment, or a name registered with RLlib by one of `modules`."""
    config: dict[str, Any] = {}
    """Keyword arguments of the environment."""
    modules: list[str] = []
    """Python modules to import first, on every process: those that register the environment."""


class Algorithm(_Section):
    """RLlib's algorithm and the network that it trains."""

    name: str = "PPO"
    """RLlib's name of the algorithm."""
    training: dict[str, Any] = {}
    """Settings for RLlib's `AlgorithmConfig.training(...)`."""
    model: dict[str, Any] = {}
    """Settings of RLlib's `DefaultModelConfig`: fcnet_hiddens, fcnet_activation, ..."""


class Baseline(_Section):
    """The dense policy that every trial starts from."""

    checkpoint: str | None = None
    """Path of an RLlib checkpoint to prune; when absent, a baseline is trained."""
    env_steps: PositiveInt = 100_000
    """Train for at most this many env steps."""
    until_return: float | None = None
    """Stop earlier, once the evaluated return reaches this; looked at every tenth of env_steps."""
    seed: NaturalInt = 0
    """Seed of the training."""


class Pruning(_Section):
    """What may be searched: each a fixed value, a list of choices, or a range (numbers)."""

    granularity: Choice[Granularity] = "weight"
    """What is removed: single weights, or whole neurons."""
    criterion: Choice[CriterionName] = ["magnitude", "saliency"]
    """Importance score: what scores lowest goes. `threshold` cuts by value instead of by ratio."""
    allocation: Choice[Allocation] = ["uniform", "global", "erk"]
    """How the ratio is divided over a network's layers (not used by criterion threshold)."""
    origin: Choice[Origin] = "baseline"
    """The weights that a trial starts from: the baseline's, or new random ones."""
    scope: Choice[Scope] = "both"
    """Which networks are pruned; an encoder that both share counts as the actor's."""
    ratio: Searchable[Ratio] = Range(low=0.8, high=0.99, log=True)
    """Share of the actor's weights to remove; the critic's where scope is critic."""
    critic_ratio: Searchable[Ratio] = 0.5
    """Share of the critic's weights to remove where scope is both."""
    threshold: Searchable[PositiveFloat] = Range(low=0.2, high=2.0, log=True)
    """Criterion threshold: weights (neurons: their RMS weight) below this go."""
    threshold_unit: Choice[Literal["std", "absolute"]] = "std"
    """Unit of `threshold`: standard deviations of the dense layer, or the value itself."""
    schedule: Choice[ScheduleName] = ["one_shot", "linear", "cubic", "geometric"]
    """How the ratio grows with progress (env steps used / env_steps)."""
    start: Searchable[Share] = 0.0
    """Progress at which pruning starts."""
    end: Searchable[Share] = 0.75
    """Progress at which the full ratio is reached; the rest is recovery."""
    rounds: Searchable[PositiveInt] = 6
    """Evaluations in a trial: each round ends with one, and yields one point."""
    env_steps: Searchable[PositiveInt] = 60_000
    """Env steps of a trial."""
    lr_scale: Searchable[PositiveFloat] = 1.0
    """Learning rate of a trial, as a multiple of the baseline's."""
    floor: Share = 0.5
    """Retention below which a trial is given up ..."""
    patience: PositiveInt = 2
    """... when this many rounds in a row end below the floor."""

    @model_validator(mode="after")
    def _ends_allowed(self) -> Pruning:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if not isinstance(value, Range):
                continue
            if value.log and value.low <= 0 and name not in RATIOS:
                raise ValueError(f"pruning.{name}: a log range needs low > 0, got {value.low:g}")
            item = TypeAdapter(field.annotation.__args__[0])  # type: ignore[union-attr]
            for end in ("low", "high"):
                number = getattr(value, end)
                try:
                    item.validate_python(number)
                except ValidationError as error:
                    problem = error.errors()[0]["msg"]
                    raise ValueError(f"pruning.{name}.{end}: {problem}, got {number:g}") from None
        return self


# Fields whose log range is one of the density, 1 - ratio.
RATIOS = frozenset({"ratio", "critic_ratio"})


class Search(_Section):
    """The search over what `pruning` leaves open."""

    trials: PositiveInt = 12
    """Trials in the study."""
    time_s: PositiveFloat | None = None
    """Stop the search after this many seconds."""
    env_steps: PositiveInt | None = None
    """Stop the search once its trials have sampled this many env steps."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """Optuna's sampler: tpe (grouped, multivariate), nsga2 or random."""
    seed: NaturalInt = 0
    """Seed of the sampler and of every trial."""
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["retention", "compression"]
    """All maximised. Return, retention, sparsity and compression are those of the trial's sparsest
    point at `retention` or above (its best return where there is none); hypervolume, sparsity_95
    and sparsity_99 are of its front."""
    retention: Share = 0.95
    """The retention that a trial's point must hold to count for the objectives."""
    first: list[dict[str, Any]] = []
    """Trials to begin with: for each what it takes of what `pruning` leaves open, by field; fields
    that are absent are the sampler's."""
    retries: NaturalInt = 2
    """How often a trial that fails goes on from its last finished round."""


class Evaluation(_Section):
    """How returns are measured: on seeds that no training sees, the same for all trials."""

    episodes: Annotated[int, Field(ge=2, le=100_000)] = 20
    """Episodes of each evaluation."""
    seed: EvaluationSeed = 0
    """Names the evaluation's env seeds."""
    final_episodes: Annotated[int, Field(ge=2, le=100_000)] = 100
    """Episodes of the front's re-evaluation when the search ends."""
    final_seed: EvaluationSeed = 1
    """Names the env seeds of the re-evaluation; the search never sees them."""
    actions: Literal["greedy", "sampled"] = "greedy"
    """Which actions the evaluated policy takes."""
    envs: PositiveInt = 20
    """Environments stepped together."""
    max_steps: PositiveInt = 100_000
    """An episode that has not ended after this many steps is cut there."""


class Resources(_Section):
    """What a trial and the study may use."""

    concurrent_trials: NaturalInt = 0
    """Trials at a time; 0 for as many as the cluster's CPUs and GPUs hold."""
    env_runners: NaturalInt = 0
    """RLlib env runners a trial; 0 samples in the trial's own process."""
    envs_per_env_runner: PositiveInt = 16
    """Environments stepped together by each env runner."""
    learners: NaturalInt = 0
    """RLlib learners a trial; 0 updates in the trial's own process."""
    gpus_per_learner: Annotated[float, Field(ge=0)] = 0
    """GPUs of each learner, or of the trial's process when learners is 0; may be a fraction."""
    threads: PositiveInt = 1
    """Torch threads of each process."""
    address: str | None = None
    """Address of a running Ray cluster, or auto; when absent, Ray starts on this machine."""


class Tracking(_Section):
    """MLflow."""

    uri: str | None = None
    """Tracking URI; when absent, a SQLite file in the storage folder."""
    experiment: str = "prune-search"
    """MLflow's experiment, where the runs of all studies are listed."""


class Experiment(_Section):
    """A study, as its experiment file describes it."""

    description: str = ""
    """What this study is for; shown in MLflow."""
    environment: Environment
    algorithm: Algorithm = Algorithm()
    baseline: Baseline = Baseline()
    pruning: Pruning = Pruning()
    search: Search = Search()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    storage: str = "studies"
    """Folder for studies, baselines and MLflow's SQLite file; shared by all nodes of a cluster."""

    @model_validator(mode="after")
    def _held_out(self) -> Experiment:
        if self.evaluation.final_seed == self.evaluation.seed:
            raise ValueError(
                "evaluation.final_seed: must differ from evaluation.seed, got"
                f" {self.evaluation.seed} for both; the search never sees the final seeds"
            )
        for given in self.search.first:
            _check_given(given, self.pruning)
        if lowest(self.pruning.end) <= highest(self.pruning.start):
            raise ValueError(
                f"pruning.end: must lie above pruning.start, got {_plain(self.pruning.end)}"
                f" and start {_plain(self.pruning.start)}"
            )
        return self


def _check_given(given: dict[str, Any], pruning: Pruning) -> None:
    for name, value in given.items():
        if name not in Pruning.model_fields:
            known = ", ".join(Pruning.model_fields)
            raise ValueError(f"search.first: unknown field {name!r} of pruning; known: {known}")
        allowed = getattr(pruning, name)
        if isinstance(allowed, Range):
            inside = isinstance(value, int | float) and allowed.low <= value <= allowed.high
        else:
            inside = value in as_choices(allowed)
        if not inside:
            raise ValueError(
                f"search.first: {name} must be one that pruning.{name} allows,"
                f" {_plain(allowed)}, got {value!r}"
            )


def lowest(value: Any) -> float:
    """The smallest number that a searchable field can take."""
    return float(value.low if isinstance(value, Range) else min(as_choices(value)))


def highest(value: Any) -> float:
    """The largest number that a searchable field can take."""
    return float(value.high if isinstance(value, Range) else max(as_choices(value)))


def as_choices(value: Any) -> list[Any]:
    """A fixed value or a list of choices, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


class Plan(BaseModel):
    """What one trial does: a concrete value for each field of `Pruning` that applies to it.

    Fields that do not apply are None: threshold without criterion threshold; ratio, critic_ratio
    and allocation with it; critic_ratio unless scope is both; start and end for one_shot.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    granularity: Granularity
    criterion: CriterionName
    allocation: Allocation | None = None
    scope: Scope
    origin: Origin = "baseline"
    ratio: float | None = None
    critic_ratio: float | None = None
    threshold: float | None = None
    threshold_unit: Literal["std", "absolute"] | None = None
    schedule: ScheduleName
    start: float | None = None
    end: float | None = None
    rounds: int
    env_steps: int
    lr_scale: float

    @property
    def label(self) -> str:
        """The plan in a few words: `weight/magnitude/erk/cubic 98.0%`."""
        axes = [self.granularity, self.criterion, self.allocation, self.schedule]
        if self.ratio is None:
            unit = "σ" if self.threshold_unit == "std" else ""
            aim = f"<{self.threshold:.3g}{unit}"
        else:
            aim = f"{self.ratio:.1%}"
        return "/".join(axis for axis in axes if axis) + f" {aim}"
