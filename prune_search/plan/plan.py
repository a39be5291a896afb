"""The plan that one trial follows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from prune_search.errors import unknown_name
from prune_search.plan import axes
from prune_search.plan.axes import AXES, NONE, names
from prune_search.plan.compatibility import CONDITIONAL, applicable, conflict
from prune_search.plan.names import STORED
from prune_search.plan.numbers import Bits, NaturalFloat, PositiveFloat, PositiveInt, Ratio, Share
from prune_search.sparsity.selection.granularities import GRANULARITIES

_NEEDED = frozenset(
    {"allocation", "densities", "ratio", "critic_ratio", "threshold", "bits", "quantized_from"}
)


class Plan(BaseModel):
    """What one trial does: a concrete value for each field of `Pruning` that applies to it.

    Fields that do not apply are None, see `compatibility.applicable`. One that was stored is read
    back whole where modules that register its entries are not imported: it was checked when it was
    made.

    Raises:
        ValueError: choices that don't go together, a number out of range, a field that the choices
            need and that is missing, or one that has no meaning with them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    granularity: str
    criterion: str
    allocation: str | None = None
    densities: dict[str, float] | None = None
    """Relative density of each kernel, by parameter name, in (0, 1]."""
    scope: axes.Scope
    origin: axes.Origin = "baseline"
    ratio: Ratio | None = None
    critic_ratio: Ratio | None = None
    threshold: PositiveFloat | None = None
    threshold_unit: Literal["std", "absolute"] | None = None
    schedule: str
    start: Share | None = None
    end: Share | None = None
    regrowth: str = NONE
    drop_fraction: Ratio | None = None
    regrow_every: PositiveInt | None = None
    rewind: str = NONE
    rounds: PositiveInt
    env_steps: PositiveInt
    lr_scale: PositiveFloat
    distillation: NaturalFloat = 0.0
    temperature: PositiveFloat | None = None
    quantization: str = NONE
    bits: Bits | None = None
    quantized_from: Share | None = None

    @model_validator(mode="after")
    def _possible(self, info: ValidationInfo) -> Plan:
        if info.context == STORED:
            return self
        chosen = {axis: getattr(self, axis) for axis in AXES}
        for axis, given in chosen.items():
            if given is not None and given not in names(axis):
                raise ValueError(f"{axis}: {unknown_name('', given, names(axis))}")
        reason = conflict({axis: given for axis, given in chosen.items() if given is not None})
        if reason:
            raise ValueError(reason)
        more = {"scope": self.scope, "distillation": self.distillation}
        applies = applicable({**chosen, **more})
        for name in sorted(CONDITIONAL - applies):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: has no meaning for {self.label}, got it all the same")
        for name in sorted(applies & _NEEDED):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: required for {self.label}, and missing")
        last = (self.end if "end" in applies else self.start) or 0.0
        if self.quantized_from is not None and self.quantized_from < last:
            raise ValueError(
                f"quantized_from: must not lie before the last pruning, at {last:g}, got"
                f" {self.quantized_from:g}"
            )
        return self

    @property
    def label(self) -> str:
        """The plan in a few words: `weight/magnitude/erk/cubic 98.0%`.

        The percentage is the ratio asked of the kernels; by threshold, what goes: `below 2 std`.
        """
        dynamic = [self.regrowth, f"rewind {self.rewind}"]
        axes = [
            self.granularity,
            self.criterion,
            self.allocation,
            self.schedule,
            *(word for word in dynamic if not word.endswith("none")),
            *(["scratch"] if self.origin == "scratch" else []),
            *(["distilled"] if self.distillation else []),
            *([f"{self.quantization} {self.bits} bits"] if self.bits else []),
        ]
        return " ".join(
            word for word in ("/".join(axis for axis in axes if axis), self.aim) if word
        )

    @property
    def aim(self) -> str:
        """How much it prunes: `98.0%`, `below 1.5 std`; empty for n:m and the gate."""
        if self.threshold is not None:
            return f"below {self.threshold:.3g}{' std' if self.threshold_unit == 'std' else ''}"
        return "" if self.ratio is None else f"{self.ratio:.1%}"

    @property
    def structured(self) -> bool:
        """Whether whole units are removed."""
        found = GRANULARITIES.get(self.granularity)
        return found is not None and found.structured
