"""The section `search` of the experiment file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from prune_search.experiment.fields import (
    Line,
    Section,
)
from prune_search.plan.names import Named
from prune_search.plan.numbers import (
    NaturalInt,
    PositiveFloat,
    PositiveInt,
    Share,
)
from prune_search.records.objectives import OBJECTIVES

Objective = Annotated[str, Named(lambda: OBJECTIVES)]

AUTO = "auto"
"""In place of a sampler's name."""


class Stopping(Section):
    """When a trial is given up because it can no longer improve the study's front."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """How sure that must be: of the trials that are stopped, at most a share of 1 - confidence
    would still have improved the front, on average over studies and as far as trials are alike. It
    is estimated on trials that run to their end whatever they do: the first confidence / (1 -
    confidence), 4 at 0.8, and every fourth after them."""
    gain: Share = 0.005
    """The least improvement that counts, as a share of the front's area over (log of compression,
    retention)."""


class Scheduler(Section):
    """One of Tune's schedulers, which stop trials by one objective."""

    name: Literal["asha", "median_stopping"]
    """Asynchronous successive halving (Li et al. 2018), or the median stopping rule (Golovin et al.
    2017)."""
    options: dict[str, Any] = {}
    """Arguments of Tune's ASHAScheduler or MedianStoppingRule; times are env steps of a trial."""


class Constraints(Section):
    """What the policy that a trial delivers must keep to; null for no limit.

    Other policies are measured and shown as well, but the sampler takes them for bad ones.
    """

    min_return: float | None = None
    """Its return."""
    max_parameters: PositiveInt | None = None
    """Non-zero parameters of its inference network."""
    max_macs: PositiveInt | None = None
    """Multiply-accumulates of one action, including those with zeros."""
    max_latency_us: PositiveFloat | None = None
    """Microseconds of one action; see objectives."""


class Search(Section):
    """The search over what `pruning` leaves open."""

    trials: PositiveInt = 12
    """Trials in the study; one that goes on after it was given up counts once."""
    time_s: PositiveFloat | None = None
    """Stop the search after this many seconds."""
    env_steps: PositiveInt | None = None
    """Stop the search once its trials have sampled this many env steps."""
    sampler: Annotated[Line, Field(min_length=1)] = "auto"
    """Which chooses plans: curves, which learns from every round of every trial, and at first from
    other tasks' recorded ones, and takes the plan that is expected to add most to the front of
    sparsity and retention per env step; Optuna's tpe (grouped, multivariate), nsga2, gp or random;
    or a grid, which runs every combination of `pruning`'s lists once, as many as there are trials.
    auto: curves, and tpe where objectives, constraints or a warm start ask for what curves does not
    look at."""
    sampler_options: dict[str, Any] = {}
    """Of the sampler that is named; auto has none. Arguments of Optuna's TPESampler, NSGAIISampler,
    GPSampler or RandomSampler; of curves: `borrow` (false: nothing of other tasks), `without`, an
    environment of which nothing is borrowed, and `startup`, the trials before which it draws at
    random: 0, or 4 where nothing is borrowed."""
    seed: NaturalInt = 0
    """Seed of the sampler and of every trial. With one trial at a time
    (`resources.concurrent_trials: 1`) the same file gives the same plans; of several at a time each
    is chosen, and stopped, by what has been measured until then, which is a matter of timing."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """Training seeds of a plan. A trial that ran to its end is repeated, each time as a trial with
    a seed of its own, until its plan has that many, and they are also reported together, over seeds
    and episodes. With fewer than six, no plan is called better or worse than dense."""
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["retention", "compression"]
    """One or several. Of what the trial delivers, its sparsest point at `retention` or above (its
    best return where there is none): return, return_low (lower end of its interval), retention,
    sparsity, compression are maximised, macs, bytes (of the inference network as it is stored,
    zeros counted) and latency_us minimised. Of the trial's front, maximised: hypervolume,
    log_hypervolume (the same over the logarithm of compression, which sees the sparse end),
    sparsity_at_retention, sparsity_95 and sparsity_99 (the most sparsity at `retention`, 95, 99 %).
    latency_us is one action of the inference network in torch, one thread, on the trial's host, as
    busy as that is."""
    constraints: Constraints = Constraints()
    """Limits for what a trial delivers."""
    retention: Share = 0.95
    """The retention that a trial's point must hold to count for the objectives."""
    first: list[dict[str, Any]] = []
    """Trials to begin with: for each, values of fields that `pruning` leaves open; the sampler
    chooses those that are absent."""
    screening: NaturalInt = 0
    """Trials to begin with after those, chosen by a screening that trains nothing: every criterion
    and granularity prunes each layer of the baseline alone, and those that cost the least return
    come first."""
    probes: NaturalInt | None = None
    """Trials to begin with after those; null: 4, and with curves none. They find out how far
    policies can be pruned, by strategies that have done well in the literature, as far as these may
    be searched. They aim at the highest ratio that may be searched; once one has broken there,
    halfway (by the density's logarithm) between that and the highest that held `retention`. On its
    way, each trial also measures everything less sparse."""
    warm_start: list[str] = []
    """Earlier studies in the same storage, of the same baseline and evaluation: the sampler learns
    from those of their trials that this study could have had itself; what failed or was cut off
    when the search ended is left out."""
    stopping: Stopping | None = Stopping()
    """Gives up trials that can no longer improve the study's front; null for never."""
    scheduler: Scheduler | None = None
    """Tune's scheduler, for one objective; takes the place of `stopping`."""
    retries: NaturalInt = 2
    """How often a trial that fails goes on from its last finished round."""
    round_s: PositiveFloat | None = None
    """Seconds that a round may take; a trial that takes longer is taken to hang: it fails, and is
    retried."""

    @model_validator(mode="after")
    def _objectives_differ(self) -> Search:
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(
                f"search.objectives: each must be named once, got {', '.join(self.objectives)}"
            )
        return self

    @model_validator(mode="after")
    def _options_have_a_sampler(self) -> Search:
        if self.sampler == "grid" and self.sampler_options:
            raise ValueError(f"search.sampler_options: a grid has none, got {self.sampler_options}")
        if self.sampler == AUTO and self.sampler_options:
            raise ValueError(
                "search.sampler_options: search.sampler must name the sampler that they are of, got"
                f" {AUTO} and {self.sampler_options}"
            )
        return self

    @model_validator(mode="after")
    def _scheduler_has_one_objective(self) -> Search:
        if self.scheduler and len(self.objectives) > 1:
            raise ValueError(
                f"search.scheduler: {self.scheduler.name} goes by one objective, and"
                f" search.objectives names {', '.join(self.objectives)}"
            )
        return self

    @property
    def timed(self) -> bool:
        """Whether the latency of policies is asked for."""
        return "latency_us" in self.objectives or self.constraints.max_latency_us is not None
