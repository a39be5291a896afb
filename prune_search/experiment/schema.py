"""The experiment file: what a study trains, prunes, searches and records.

The models below are the only source of the file's names, defaults and help. Every key that they
do not know is refused, and every message names the field, what was given and what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from prune_search.credentials import fields_with_credentials
from prune_search.errors import did_you_mean, shown
from prune_search.experiment.fields import (
    Line,
    PathText,
    Range,
    Section,
    Settings,
    Text,
    as_choices,
    plain,
)
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.search_section import Search
from prune_search.plan.axes import AXES
from prune_search.plan.compatibility import conflict
from prune_search.plan.numbers import (
    FiniteFloat,
    NaturalFloat,
    NaturalInt,
    PositiveFloat,
    PositiveInt,
    Share,
)
from prune_search.records.returns import Aggregate
from prune_search.sparsity.rewinding import REWINDS
from prune_search.storage.usual import STUDIES

# Evaluation seeds become blocks of 100,000 environment seeds above 2**30; see evaluation_seeds.
EvaluationSeed = Annotated[int, Field(ge=0, lt=10_000)]


class Wrapper(Section):
    """One wrapper around the environment."""

    name: Line
    """Its dotted name: a class or function of Python's that takes an environment."""
    kwargs: Settings = {}
    """Its keyword arguments; a `dtype` is named as NumPy does, float32."""


class Environment(Section):
    """The task."""

    id: Line
    """Gymnasium's id of the environment, or a name registered with RLlib by one of `modules`;
    `module:id` imports a module first."""
    config: Settings = {}
    """Keyword arguments of the environment."""
    modules: list[Line] = []
    """Python modules to import first, on every process: those that register the environment;
    `module:function` calls the function as well."""
    wrappers: list[Wrapper] = []
    """Wrappers by dotted name, gymnasium's or one's own, the first one innermost. What comes out is
    made fit for networks automatically: bytes and other integers become floats, images of bytes
    from -1 to 1; Dict, Tuple, Discrete and matrices become vectors; channels go last."""
    policies: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None
    """Multi-agent environments: for each policy the agents (ids, or patterns with `*`) that it
    acts for; each policy is pruned on its own. null for one agent."""


class Algorithm(Section):
    """RLlib's algorithm and the network that it trains."""

    name: Line = "PPO"
    """RLlib's name of the algorithm."""
    training: Settings = {}
    """Settings for RLlib's `AlgorithmConfig.training(...)`."""
    model: Settings = {}
    """Settings of RLlib's `DefaultModelConfig`: fcnet_hiddens, fcnet_activation, ...; with
    `module` whatever that reads in its model_config."""
    module: Line | None = None
    """A network of one's own by dotted name: a class derived from RLlib's TorchRLModule. Neurons
    and filters are taken out of it where it is a `prune_search.modules.ShrunkModule` as well."""
    env_runners: Settings = {}
    """Settings for RLlib's `AlgorithmConfig.env_runners(...)`: batch_mode, ..., and of
    `environment(...)` normalize_actions, clip_actions and clip_rewards. Those that `resources`
    has are refused. `observation_filter: MeanStdFilter` lets networks see observations less their
    running mean, over their running deviation, learned in training and kept with the policy."""
    offline: Settings = {}
    """Settings for RLlib's `AlgorithmConfig.offline_data(...)`, for algorithms that learn from
    recorded episodes: BC, MARWIL, CQL, IQL. They may hold pickles: read only with
    `--trust-checkpoint`."""


class Baseline(Section):
    """The dense policy that every trial starts from."""

    checkpoint: PathText | None = None
    """Path of an RLlib checkpoint to prune; when absent, a baseline is trained. It is a pickle,
    which runs its author's code: opened only with `--trust-checkpoint`."""
    env_steps: PositiveInt = 100_000
    """Train for at most this many env steps. A policy that is no better than random actions by
    then is kept, and `resume` trains it for as many again."""
    until_return: FiniteFloat | None = None
    """Stop earlier, once the evaluated return reaches this; looked at every tenth of env_steps, on
    seeds that neither the search nor its final evaluation uses."""
    early: Share = 0.1
    """Share of env_steps after which weights are kept; `pruning.rewind: early` returns to them."""
    seed: NaturalInt = 0
    """Seed of the training."""
    control: bool = True
    """Also train the dense policy on for as many env steps as a trial has, with nothing pruned,
    once for all studies with that budget: points are called better or worse than the result."""


class Evaluation(Section):
    """How returns are measured: on seeds that no training sees, the same for all trials."""

    episodes: Annotated[int, Field(ge=2, le=100_000)] = 20
    """Episodes of each evaluation."""
    seed: EvaluationSeed = 0
    """Selects the env seeds of evaluations."""
    final_episodes: Annotated[int, Field(ge=2, le=100_000)] = 100
    """Episodes of the front's re-evaluation when the search ends."""
    final_seed: EvaluationSeed = 1
    """Selects the env seeds of the re-evaluation; the search never sees them."""
    aggregate: Aggregate = "mean"
    """What a policy's return over its episodes counts as, for retention and all that goes by it:
    the mean, or the interquartile mean (iqm), which leaves the worst quarter of episodes out."""
    holds_at: Share = 0.5
    """Retention at or above which a single episode counts as one that holds; see `show`."""
    actions: Literal["greedy", "sampled"] = "greedy"
    """Which actions the evaluated policy takes."""
    envs: PositiveInt = 20
    """Environments stepped together."""
    max_steps: PositiveInt = 100_000
    """An episode that has not ended after this many steps is cut there."""


class Resources(Section):
    """What a trial and the study may use."""

    concurrent_trials: NaturalInt = 0
    """Trials at a time; 0 for as many as the cluster's CPUs and GPUs hold."""
    env_runners: NaturalInt = 0
    """RLlib env runners per trial; 0 samples in the trial's own process."""
    envs_per_env_runner: PositiveInt = 16
    """Environments stepped together by each env runner."""
    runner: Literal["auto", "lean", "rllib"] = "auto"
    """What samples episodes: `lean`, which keeps steps in arrays and hands on what RLlib's env
    runner does in less time; `rllib`, RLlib's own; or `auto`: lean where it can be, else RLlib's,
    and `run` and `show` say why."""
    learners: NaturalInt = 0
    """RLlib learners per trial; 0 updates in the trial's own process."""
    gpus_per_learner: NaturalFloat = 0
    """GPUs of each learner, or of the trial's process when learners is 0; may be a fraction."""
    threads: Annotated[int, Field(ge=1, le=1_024)] = 1
    """Torch threads of each process."""
    memory_gb: PositiveFloat | None = None
    """Memory that a trial's process may hold; one that holds more is taken to leak: it fails, and
    is retried in a new process."""
    address: Line | None = None
    """Address of a running Ray cluster, or auto; when absent, Ray starts on this machine."""


class Tracking(Section):
    """Where the study is shown beside its folder; `tracking: none` for nowhere."""

    to: Annotated[Line, Field(min_length=1)] = "mlflow"
    """What shows it: mlflow, none, or a tracker of yours (see docs/extending.md)."""
    uri: Line | None = None
    """MLflow's tracking URI, without user and password, which MLflow takes from
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; when absent, a SQLite file in the storage
    folder."""
    experiment: Annotated[Line, Field(min_length=1, max_length=250)] = "prune-search"
    """MLflow's experiment, where the runs of all studies are listed."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"to": given} if isinstance(given, str) else given


class Experiment(Section):
    """A study, as its experiment file describes it."""

    modules: list[Line] = []
    """Python modules of yours to import before anything else, on every process: those that register
    criteria, allocations, schedules and the like; see docs/extending.md."""
    description: Text = ""
    """What this study is for; shown in MLflow."""
    environment: Environment
    algorithm: Algorithm = Algorithm()
    baseline: Baseline = Baseline()
    pruning: Pruning = Pruning()
    search: Search = Search()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    storage: PathText = STUDIES
    """Folder for studies, baselines and MLflow's SQLite file; shared by all nodes of a cluster."""
    mirror: str | None = None
    """For nodes that share no folder: one in an object store, such as s3://bucket/studies, through
    which they exchange what is in their own `storage`; keys are environment variables."""

    # No field of the file: a file can't vouch for itself.
    _trusted: bool = PrivateAttr(default=False)

    @property
    def trusted(self) -> bool:
        """Whether the pickles that the experiment names may be opened; see `trust`."""
        return self._trusted

    def trusting(self) -> Experiment:
        """The experiment of a user who trusts the pickles that it names."""
        copy = self.model_copy()
        copy._trusted = True
        return copy

    @model_validator(mode="after")
    def _no_credentials(self) -> Experiment:
        found = fields_with_credentials(self.model_dump())
        if "@" in (self.resources.address or ""):
            found.append("resources.address")
        instead = {
            "tracking.uri": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            "resources.address": "RAY_AUTH_TOKEN_PATH",
        }
        for field in found:
            raise ValueError(
                f"{field}: must be an address without user, password or token, which would be"
                f" stored with the study; set {instead.get(field, 'an environment variable')}"
                " instead"
            )
        return self

    @model_validator(mode="after")
    def _held_out(self) -> Experiment:
        if self.evaluation.final_seed == self.evaluation.seed:
            raise ValueError(
                "evaluation.final_seed: must differ from evaluation.seed, got"
                f" {self.evaluation.seed} for both; the search never sees the final seeds"
            )
        return self

    @model_validator(mode="after")
    def _mirrored(self) -> Experiment:
        if self.mirror and not self.storage.startswith("/"):
            raise ValueError(
                "storage: must be an absolute path with a mirror, the same on every node, got"
                f" {self.storage!r}"
            )
        return self

    @model_validator(mode="after")
    def _first_possible(self) -> Experiment:
        for given in self.search.first:
            _check_given(given, self.pruning)
        return self

    @model_validator(mode="after")
    def _packs(self) -> Experiment:
        if "packed_bytes" in self.search.objectives and "none" in as_choices(
            self.pruning.quantization
        ):
            raise ValueError(
                "search.objectives: packed_bytes is known of quantized policies alone, and"
                f" pruning.quantization is {plain(self.pruning.quantization)}; leave none out there"
            )
        return self

    @model_validator(mode="after")
    def _rewinds_possible(self) -> Experiment:
        rewinds = as_choices(self.pruning.rewind)
        past = [name for name in rewinds if name in REWINDS and REWINDS[name].of_baseline]
        if past and self.baseline.checkpoint:
            raise ValueError(
                f"pruning.rewind: {past[0]} needs the baseline's first weights, which a"
                " baseline.checkpoint does not have; allowed with it: none, "
                + ", ".join(name for name, entry in REWINDS.items() if not entry.of_baseline)
            )
        rates = {
            name: rate
            for name, rate in self.algorithm.training.items()
            if name == "lr" or name.endswith("_lr")
        }
        of_rates = [name for name in rewinds if name in REWINDS and not REWINDS[name].weights]
        if of_rates and not any(isinstance(r, list) for r in rates.values()):
            raise ValueError(
                f"pruning.rewind: {of_rates[0]} needs a schedule in algorithm.training.lr (or"
                f" actor_lr, ...), [[env step, rate], ...], got {shown(rates or None)}"
            )
        return self


def _check_given(given: dict[str, Any], pruning: Pruning) -> None:
    for name, value in given.items():
        if name not in Pruning.model_fields:
            known = list(Pruning.model_fields)
            raise ValueError(
                f"search.first: unknown field {shown(name)} of pruning"
                f"{did_you_mean(name, known) or ';'} known are: {', '.join(known)}"
            )
        allowed = getattr(pruning, name)
        if isinstance(allowed, Range):
            inside = isinstance(value, int | float) and allowed.low <= value <= allowed.high
        else:
            inside = value in as_choices(allowed)
        if not inside:
            raise ValueError(
                f"search.first: {name} must be one that pruning.{name} allows,"
                f" {shown(plain(allowed))}, got {shown(value)}"
            )
    reason = conflict({name: value for name, value in given.items() if name in AXES})
    if reason:
        raise ValueError(f"search.first: {reason}")
