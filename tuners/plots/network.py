"""A network drawn: units in columns, and between them the weights that are not zero.

No words, so that it stands in a page of any language. A figure above two columns counts the weights
between them that are not zero, one below a column its units that a weight still joins to something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from tuners.plots.front import DENSE, FAINT, FRONT
from tuners.report.networks import Kernel

_STEP, _GAP, _MARGIN = 116, 56, 34  # between joined columns, between others, at the sides
_TOP, _HEIGHT, _FOOT = 26, 140, 22
_NARROWEST = 416
_CLEAR = 300  # lines beyond which a layer of which nothing is gone is a band
_DOTS = 64  # units beyond which a column is a bar
_TALL = 16  # units from which on a column has its full height


@dataclass
class _Column:
    units: int
    x: float
    used: set[int] = field(default_factory=set)
    """Units that a weight joins to something, on either side."""

    def y(self, unit: int) -> float:
        """Where a unit lies."""
        height = _HEIGHT * min(1.0, self.units / _TALL)
        share = unit / (self.units - 1) if self.units > 1 else 0.5
        return _TOP + (_HEIGHT - height) / 2 + share * height


def network_svg(kernels: Sequence[Kernel], dense: Sequence[Kernel]) -> str:
    """The SVG of a network.

    Every weight that is not zero is a line, where few enough are left to be told apart; else the
    band between two columns is the darker the more are left.

    Args:
        kernels: in the order in which they act; those whose inputs are another number than the
            outputs before them stand apart.
        dense: the same before pruning, of which weights and units are a part.
    """
    columns, links = _laid_out(kernels)
    width = max(_NARROWEST, columns[-1].x + _MARGIN) if columns else _NARROWEST
    shift = (width - (columns[-1].x + _MARGIN if columns else 0)) / 2
    whole = {kernel.name: kernel for kernel in dense}
    parts = [_link(*link, whole[link[0].name]) for link in links]
    parts += [_units(column) for column in columns]
    height = _TOP + _HEIGHT + _FOOT
    return (
        f'<svg viewBox="0 0 {width:g} {height}" style="min-width:{0.75 * width:g}px" role="img">'
        f'<g transform="translate({shift:g} 0)">{"".join(parts)}</g></svg>'
    )


def _laid_out(
    kernels: Sequence[Kernel],
) -> tuple[list[_Column], list[tuple[Kernel, _Column, _Column]]]:
    columns: list[_Column] = []
    links = []
    for kernel in kernels:
        if not columns or columns[-1].units != kernel.inputs:
            x = columns[-1].x + _GAP if columns else _MARGIN
            columns.append(_Column(kernel.inputs, x))
        source = columns[-1]
        target = _Column(kernel.outputs, source.x + _STEP)
        columns.append(target)
        links.append((kernel, source, target))
        source.used |= set(range(kernel.inputs)) - set(kernel.idle_inputs)
        target.used |= set(range(kernel.outputs)) - set(kernel.idle_outputs)
    return columns, links


def _link(kernel: Kernel, source: _Column, target: _Column, dense: Kernel) -> str:
    left, right = source.x + 5, target.x - 5
    pruned = kernel.nonzero < dense.weights
    color = FRONT if pruned else DENSE
    if kernel.wires and (pruned or len(kernel.wires) <= _CLEAR):
        lines = "".join(
            f"M{left:g} {source.y(i):.1f}L{right:g} {target.y(o):.1f}" for o, i in kernel.wires
        )
        look = f'stroke="{color}" stroke-width=".8" opacity="{0.6 if pruned else 0.3}"'
        drawn = f'<path d="{lines}" {look} fill="none"/>'
    elif kernel.nonzero:
        ends = [
            (left, source.y(0)),
            (right, target.y(0)),
            (right, target.y(target.units - 1)),
            (left, source.y(source.units - 1)),
        ]
        corners = " ".join(f"{x:g},{y:.1f}" for x, y in ends)
        shade = 0.08 + 0.32 * kernel.nonzero / dense.weights
        drawn = f'<polygon points="{corners}" fill="{color}" opacity="{shade:.2f}"/>'
    else:
        drawn = ""
    of = f" / {dense.weights:,}" if pruned else ""
    label = _text((left + right) / 2, 12, f"{kernel.nonzero:,}{of}")
    return f"<g><title>{escape(kernel.name)}</title>{drawn}{label}</g>"


def _units(column: _Column) -> str:
    radius = max(0.9, min(3.2, 0.4 * _HEIGHT / max(1, column.units)))
    drawn = ""
    if column.units > _DOTS:
        top, bottom = column.y(0), column.y(column.units - 1)
        drawn = (
            f'<rect x="{column.x - 3:g}" y="{top - 2:.1f}" width="6" rx="3"'
            f' height="{bottom - top + 4:.1f}" fill="{FAINT}" opacity=".55"/>'
        )
    for unit in range(column.units):
        used = unit in column.used
        if column.units > _DOTS and (not used or len(column.used) == column.units):
            continue  # of many units, those that are left, where some are gone
        look = f'fill="{DENSE}"' if used else f'fill="#fff" stroke="{FAINT}" stroke-width=".6"'
        drawn += f'<circle cx="{column.x:g}" cy="{column.y(unit):.1f}" r="{radius:.1f}" {look}/>'
    of = "" if len(column.used) == column.units else f" / {column.units:,}"
    return drawn + _text(column.x, _TOP + _HEIGHT + 17, f"{len(column.used):,}{of}")


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" font-size="10.5">{escape(text)}</text>'
