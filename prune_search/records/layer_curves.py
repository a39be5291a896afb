"""How much the policy suffers when one layer alone is pruned: what was measured."""

from __future__ import annotations

from pathlib import Path

from prune_search.records.record import Record
from prune_search.records.returns import Return
from prune_search.sparsity.sensitivity import Curve

_WHATEVER: Curve = ((1.0, 1.0),)  # all of it can go, and nothing is lost


def curves_file(folder: Path, granularity: str, criterion: str) -> Path:
    """Where a study, or a baseline that no study has scanned, keeps what was measured."""
    return folder / "sensitivity" / f"{granularity.replace(':', '-of-')}-{criterion}.json"


class SensitivityPoint(Record):
    """One layer pruned to one ratio, everything else dense, nothing trained."""

    asked: float
    """The ratio that was asked for."""
    ratio: float
    """Share of the layer's weights (neurons, filters: of its units) that was removed, counted."""
    retention: float
    returned: Return


class SensitivityRecord(Record):
    """The sensitivity of every layer of the networks that act."""

    environment: str
    granularity: str
    criterion: str
    baseline: str
    """Key of the dense policy."""
    layers: list[str]
    """Patterns of the kernels that may be pruned."""
    seed: int
    """Of the random criterion, and of the batches from which a criterion takes its statistics."""
    episodes: int
    """Episodes of each evaluation."""
    dense: Return
    """Of the dense policy, on the same episodes."""
    random: Return
    """Of uniformly random actions, likewise."""
    weights: dict[str, int]
    """Entries of each measured kernel, by parameter name, in the order of the networks."""
    points: dict[str, list[SensitivityPoint]]
    """For each measured kernel one point for each ratio that was asked for. A layer keeps at least
    one weight or unit, and n:m goes no further than its pattern: what is asked for beyond that
    repeats the last point."""
    flat: list[str]
    """Prunable kernels of the networks that do not act. Nothing is measured for them: whatever is
    removed there, the policy is the same."""

    @property
    def curves(self) -> dict[str, Curve]:
        """(ratio, retention) by layer, as `sparsity.by_sensitivity` takes them.

        Those of networks that do not act are flat: such layers get equal ratios.
        """
        measured: dict[str, Curve] = {
            layer: tuple({point.ratio: point.retention for point in points}.items())
            for layer, points in self.points.items()
        }
        return measured | dict.fromkeys(self.flat, _WHATEVER)

    def mean(self, layer: str) -> float:
        """Mean retention of a layer's points: the lower, the more sensitive the layer."""
        points = self.points[layer]
        return sum(point.retention for point in points) / len(points)

    @property
    def ranking(self) -> list[str]:
        """The measured layers, the most sensitive first; of equal ones in the networks' order."""
        return sorted(self.points, key=self.mean)

    @property
    def verdict(self) -> str:
        """The most and the least sensitive layer, in a sentence."""
        if not self.points:
            return "No layer was measured."
        most, least = self.ranking[0], self.ranking[-1]
        if self.mean(least) - self.mean(most) < 1e-9:
            each = "The only layer" if len(self.points) == 1 else "Every layer alike"
            return f"{each} keeps a retention of {self.mean(most):.1%} on average."
        return (
            f"Most sensitive: {most}, retention {self.mean(most):.1%} on average over its ratios;"
            f" least sensitive: {least}, {self.mean(least):.1%}."
        )
