"""How to prune: what the experiment file may leave open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from prune_search.experiment.fields import (
    Choice,
    Line,
    PathText,
    Range,
    Searchable,
    Section,
    as_choices,
    highest,
    lowest,
    plain,
)
from prune_search.experiment.problems import said
from prune_search.plan import axes
from prune_search.plan.axes import AXES
from prune_search.plan.compatibility import conflict
from prune_search.plan.numbers import Bits, NaturalFloat, PositiveFloat, PositiveInt, Ratio, Share

# Fields whose log range is one of the density, 1 - ratio.
RATIO_FIELDS = frozenset({"ratio", "critic_ratio"})


class Pruning(Section):
    """What may be searched: each a fixed value, a list of choices, or a range (numbers)."""

    origin: Choice[axes.Origin] = "baseline"
    """The weights that a trial starts from: the baseline's, or new random ones."""
    granularity: Choice[axes.GranularityName] = "weight"
    """What is removed: single weights, neurons, convolutions' filters, or all but 2 (1) of every 4
    weights along a layer's inputs."""
    criterion: Choice[axes.CriterionName] = ["magnitude", "saliency"]
    """Importance score: what scores lowest goes. `threshold` cuts by value instead of by ratio;
    activation, dormant, l1_norm, l2_norm and geometric_median score neurons and filters."""
    allocation: Choice[axes.AllocationName] = ["uniform", "global", "erk"]
    """How the ratio is divided over a network's layers (not used by criterion threshold and by
    2:4 and 1:4); `sensitivity` measures each layer alone first, `searched` leaves each layer's
    density to the search."""
    scope: Choice[axes.Scope] = "both"
    """Which networks are pruned; an encoder that both share counts as the actor's."""
    layers: Annotated[list[Line], Field(min_length=1)] = ["*"]
    """Patterns (`*`, `?`) of the kernels that may be pruned, by parameter name."""
    ratio: Searchable[Ratio] = Range(low=0.8, high=0.99, log=True)
    """Share of the actor's weights to remove; the critic's where scope is critic."""
    critic_ratio: Searchable[Ratio] = 0.5
    """Share of the critic's weights to remove where scope is both."""
    threshold: Searchable[PositiveFloat] = Range(low=0.2, high=2.0, log=True)
    """Criterion threshold: weights (neurons: their RMS weight) below this go."""
    threshold_unit: Choice[Literal["std", "absolute"]] = "std"
    """Unit of `threshold`: standard deviations of the dense layer, or the value itself."""
    schedule: Choice[axes.ScheduleName] = ["one_shot", "linear", "cubic", "geometric"]
    """How the ratio grows with progress (env steps used / env_steps); `gated` needs no ratio: it
    prunes on while the retention is at `hold`, waits below, and takes back below `floor`."""
    start: Searchable[Share] = 0.0
    """Progress at which pruning starts."""
    end: Searchable[Share] = 0.75
    """Progress at which the full ratio is reached; the rest is recovery."""
    regrowth: Choice[axes.RegrowthName] = "none"
    """Dynamic sparse training: from time to time the smallest weights are dropped and as many
    others grown, at random (set) or where the gradient is largest (rigl)."""
    drop_fraction: Searchable[Ratio] = 0.3
    """Regrowth: share of a layer's weights dropped and grown; decays as a cosine until `end`."""
    regrow_every: Searchable[PositiveInt] = 2_000
    """Regrowth: env steps between two of them, which happen from the first pruning to `end`."""
    rewind: Choice[axes.RewindName] = "none"
    """After each pruning of schedules one_shot and geometric, weights return to the baseline's
    initial or early ones (the lottery ticket), or to random ones or to initial ones under a
    permuted mask (its controls); learning_rate rewinds the learning rate's schedule alone."""
    rounds: Searchable[PositiveInt] = 6
    """Evaluations in a trial: each round ends with one, and yields one point."""
    env_steps: Searchable[PositiveInt] = 60_000
    """Env steps of a trial (offline algorithms: steps trained)."""
    lr_scale: Searchable[PositiveFloat] = 1.0
    """Learning rate of a trial, as a multiple of the baseline's."""
    rllib_schedules: Literal["own", "continued"] = "own"
    """What RLlib's schedules ([[env step, value], ...] of lr, entropy_coeff, epsilon) do in a
    trial: `own` runs them anew, baseline.env_steps of them stretched over the trial's env_steps;
    `continued` goes on where the baseline's training ended."""
    distillation: Searchable[NaturalFloat] = 0.0
    """Weight of the loss that keeps the policy's actions near the teacher's; 0 for none."""
    temperature: Searchable[PositiveFloat] = 1.0
    """Distillation: how much the two policies are softened before they are compared. Above 1, what
    one of them takes for impossible counts less; discrete actions: logits / temperature; Gaussian:
    the distance of means and log deviations / temperature."""
    teacher: PathText | None = None
    """Distillation: RLlib checkpoint of the teacher, a pickle, which is opened only with
    `--trust-checkpoint`; the baseline when absent."""
    quantization: Choice[axes.QuantizationName] = "none"
    """How the acting network's weights come to take few values, zero among them: those of a layer
    (sharing) or of the network (network_sharing) share centroids found by k-means, or they are
    whole multiples of a scale for each output (uniform)."""
    bits: Searchable[Bits] = [3, 4, 5]
    """Quantization: bits of a weight, before entropy coding."""
    quantized_from: Searchable[Share] = 0.9
    """Quantization: progress at which it begins, not before `end`; training goes on with quantized
    weights, and what it changes are centroids (sharing) or what the integers are rounded from
    (uniform). With 1.0 the last round's policy is quantized after its training."""
    shrink: bool = True
    """Granularities neuron and filter: remove what is pruned physically at the end of each round,
    so that training goes on at the smaller size; else only mask it."""
    hold: Share = 0.95
    """Schedule gated: retention at or above which pruning goes on."""
    floor: Share = 0.5
    """Retention below which a trial is given up (gated: takes back what it pruned last) ..."""
    patience: PositiveInt = 2
    """... when this many rounds in a row end below the floor."""

    @model_validator(mode="after")
    def _ends_allowed(self) -> Pruning:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if not isinstance(value, Range):
                continue
            if value.log and value.low <= 0 and name not in RATIO_FIELDS:
                raise ValueError(f"pruning.{name}: a log range needs low > 0, got {value.low:g}")
            item = TypeAdapter(field.annotation.__args__[0])  # type: ignore[union-attr]
            for end in ("low", "high"):
                number = getattr(value, end)
                try:
                    item.validate_python(number)
                except ValidationError as error:
                    problem = said(error.errors()[0])
                    raise ValueError(f"pruning.{name}.{end}: {problem}") from None
        if lowest(self.end) <= highest(self.start):
            raise ValueError(
                f"pruning.end: must lie above pruning.start, got {plain(self.end)}"
                f" and start {plain(self.start)}"
            )
        return self

    @model_validator(mode="after")
    def _regrows(self) -> Pruning:
        """That a multiple of `regrow_every` falls between the first pruning and `end`."""
        if as_choices(self.regrowth) == ["none"]:
            return self
        most = (lowest(self.end) - highest(self.start)) * lowest(self.env_steps)
        if highest(self.regrow_every) >= most:
            raise ValueError(
                "pruning.regrow_every: must be less than (end - start) x env_steps ="
                f" {most:,.0f}, or no regrowth may ever be due, got {plain(self.regrow_every)}"
            )
        return self

    @model_validator(mode="after")
    def _quantizes_last(self) -> Pruning:
        if as_choices(self.quantization) == ["none"]:
            return self
        if lowest(self.quantized_from) < highest(self.end):
            raise ValueError(
                "pruning.quantized_from: must not lie below pruning.end, where pruning ends, got"
                f" {plain(self.quantized_from)} and end {plain(self.end)}"
            )
        return self

    @model_validator(mode="after")
    def _combine(self) -> Pruning:
        possible = list(combinations(self))
        never = [
            (name, value)
            for name in AXES
            for value in as_choices(getattr(self, name))
            if not any(chosen[name] == value for chosen in possible)
        ]
        reasons = [(name, reason) for name, value in never if (reason := self._why(name, value))]
        for name, reason in reasons:
            raise ValueError(f"pruning.{name}: {reason}")
        for name, value in never:
            raise ValueError(f"pruning.{name}: {value} goes with no combination of the others")
        return self

    def _why(self, name: str, value: Any) -> str | None:
        """Why a value goes with none of another axis' choices."""
        for other in AXES:
            rest = as_choices(getattr(self, other))
            reasons = [conflict({name: value, other: choice}) for choice in rest]
            if other != name and all(reasons):
                return reasons[0]
        return None


def options(pruning: Pruning, name: str, chosen: Mapping[str, Any]) -> list[Any]:
    """The values of an axis that go with those chosen so far."""
    return [v for v in as_choices(getattr(pruning, name)) if conflict({**chosen, name: v}) is None]


def combinations(pruning: Pruning) -> Iterator[dict[str, Any]]:
    """Every combination of the axes' values that has no conflict."""

    def extend(chosen: dict[str, Any], left: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        if not left:
            yield chosen
            return
        for value in options(pruning, left[0], chosen):
            yield from extend({**chosen, left[0]: value}, left[1:])

    return extend({}, tuple(AXES))
