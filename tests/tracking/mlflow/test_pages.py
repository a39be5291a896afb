"""MLflow's pages as a browser shows them: charts that have everything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, chromium
from tests.pages import TRIALS, chart, experiment, make, served, table, trial


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Debian's chromium, {CHROMIUM}")
def test_fronts_are_compared_with_no_click(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    make(tmp_path)
    with served(tmp_path) as address, chromium() as page:
        chart(page, address)
        # The study's own front is among them; all have several points.
        fronts = drawn(page, "front/sparsity")
        assert len(fronts) == TRIALS + 1
        assert min(len(points) for points in fronts.values()) >= 3
        for points in fronts.values():
            assert points == sorted(points) and points[0][1] > points[-1][1] > 0
        (best,) = drawn(page, "best_sparsity").values()
        assert len(best) == TRIALS
        assert page.locator(".parcoords .dimension").count() == 5 + 2
        top = plot(page, "front/sparsity").bounding_box()
        assert top is not None and top["y"] < 500

        table(page, address)
        cells = page.locator("[role=row]", has_text="75 %").first
        assert "(empty)" not in cells.inner_text()

        # A browser that has seen nothing yet, from MLflow's first page on.
        experiment(page, address)
        assert "workflowType=machine_learning" in page.url
        assert page.get_by_role("columnheader", name="best_sparsity").first.is_visible()
        trial(page, address)
        assert page.get_by_role("link", name="Traces").first.is_visible()
        assert page.get_by_role("link", name="Judges").count() == 0


def plot(page: Any, axis: str) -> Any:
    """The chart over an axis."""
    return page.locator(".js-plotly-plot").filter(has_text=axis).first


def drawn(page: Any, axis: str) -> dict[str, list[tuple[float, float]]]:
    """What the chart over an axis draws: (x, y) of each point, by the run's name."""
    traces = plot(page, axis).evaluate(
        "plot => plot.data.map(t => [t.name ?? '', t.x ?? [], t.y ?? []])"
    )
    return {name or "": list(zip(x, y, strict=True)) for name, x, y in traces if len(x)}
