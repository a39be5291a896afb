"""Figures as SVG that stands in a page: no script, no metadata, the same bytes when drawn twice."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_NUMBERED = re.compile(r' id="[A-Za-z.\d]+_\d+"')  # nothing refers to them, and figures share them


def drawn(figure: Figure) -> str:
    """The figure's `<svg>`, with texts as texts, in the page's font."""
    import matplotlib

    written = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "prune-search"}):
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    picture = written.getvalue()
    return _NUMBERED.sub("", picture[picture.index("<svg") :])
