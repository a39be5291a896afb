"""The picture of a front, alone and on its page."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from prune_search.records.fronts import front
from tests.report.shown import points_of
from tests.studies import BASELINE, end_study, make_experiment, make_point, make_study
from tuners.plots.front import front_figure, front_html, position, ticks
from tuners.report.study_report import report


def test_the_scale_tells_95_from_99() -> None:
    assert position(0) == 0 and position(0.99) == pytest.approx(2)
    assert position(0.99) - position(0.95) > 0.3 * position(0.99)
    assert position(1.0) < 10
    assert ticks([make_point(0, 1, 0.97, 400)]) == [0, 0.5, 0.8, 0.9, 0.95, 0.98]
    assert ticks([]) == [0, 0.5, 0.8, 0.9]


def test_the_picture_has_points_front_baseline_and_floor(tmp_path: Path) -> None:
    import matplotlib

    folder = make_study(tmp_path, trials=4)
    end_study(folder)
    backend = matplotlib.get_backend()
    found = report(folder, make_experiment())
    figure = front_figure(found.points, BASELINE, found.floor, final=found.finals, title="cartpole")
    assert matplotlib.get_backend() == backend
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert labels == {
        "dense baseline 500",
        "floor 260",
        "other points",
        "front",
        "front, worst tenth of episodes",
        "front, on seeds the search never saw",
    }
    ticks_shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert {"0 %\n1×", "95 %\n20×", "99 %\n100×"} <= set(ticks_shown)
    figure.savefig(tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000


@pytest.mark.parametrize(("size", "worded"), [((8.0, 5.0), True), ((8.0, 4.2), False)])
@pytest.mark.parametrize("dense", [1.0, -89.25, 12_345.0, -123_456.0])
def test_no_text_is_cut_off_or_covers_another(
    dense: float, size: tuple[float, float], worded: bool
) -> None:
    returned = BASELINE.returned.model_copy(update={"value": dense, "low": dense, "high": dense})
    baseline = BASELINE.model_copy(update={"returned": returned})
    points = [make_point(0, 0, 0.5, dense), make_point(0, 1, 0.998, 2 * dense)]
    figure = front_figure(
        points,
        baseline,
        dense - 1.0,
        title="x" if worded else "",
        size=size,
        worded=worded,
        final={point.name: returned for point in points},
    )
    figure.canvas.draw()
    (axes,) = figure.axes
    beside = [axes.xaxis.label, axes.yaxis.label]
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), *beside]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    low, high = axes.get_ylim()
    shown = [
        text.get_window_extent()
        for text in texts
        if text.get_text()
        and not (text in axes.get_yticklabels() and not low <= text.get_position()[1] <= high)
    ]
    assert len(shown) >= (14 if worded else 8)
    for box in shown:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    assert not any(a.overlaps(b) for a, b in combinations(shown, 2))


def test_the_page_has_every_point_and_needs_no_network(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=2)
    points = points_of(folder)
    labels = {0: "weight/magnitude 95.0%", 1: "weight/threshold <1.5σ"}
    page = front_html(points, BASELINE, 260.0, labels=labels, title="a < b & c")
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</body>")])
    svg = "{http://www.w3.org/2000/svg}"
    told = {}
    for group in ("front-points", "other-points"):
        (drawn,) = (item for item in picture.iter(f"{svg}g") if item.get("id") == group)
        told[group] = [use.findtext(f"{svg}title") or "" for use in drawn.iter(f"{svg}use")]
    assert [text.split()[0] for text in told["front-points"]] == [p.name for p in front(points)]
    found = [text.partition("\n")[0] for texts in told.values() for text in texts]
    assert sorted(found) == sorted(f"{point.name} {labels[point.trial]}" for point in points)
    assert all("\nretention " in text for texts in told.values() for text in texts)
    # Names of formats are the only addresses in it.
    addresses = set(re.findall(r"https?://([^/\s\"']+)", page))
    assert addresses <= {"www.w3.org", "purl.org", "creativecommons.org", "matplotlib.org"}
    assert not re.search(r"<script|<link|\ssrc=|url\(http", page) and len(page) < 100_000


@pytest.mark.parametrize("count", [0, 1])
def test_pictures_of_few_points(tmp_path: Path, count: int) -> None:
    points = [make_point(0, 1, 0.9, 480)][:count]
    front_figure(points, BASELINE).savefig(tmp_path / "few.png")
    assert "dense baseline 500" in front_html(points, BASELINE)
