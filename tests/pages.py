"""MLflow's pages on a study, in Debian's chromium: for the tests, and as pictures.

    python -m tests.pages OUT [--storage STUDIES]

writes a picture of each page into OUT, and the beginning of each study's report, of the studies in
STUDIES or of one made by hand.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser import chromium
from tests.cluster.servers import free_port
from tests.commands import python
from tests.studies import end_study, make_experiment, make_study, make_trial, mlflow_tracker
from tuners.catalog.finding import open_study, studies
from tuners.page.page import write
from tuners.report.study_report import report as report_of
from tuners.tracking.mlflow.tracking import default_uri
from tuners.tracking.mlflow.views import compare_url

TRIALS = 12
"""More than the ten runs that MLflow's charts show by themselves."""


def make(storage: Path) -> None:
    """A study whose fronts have several points, in a store of its own."""
    folder = make_study(storage, trials=0)
    for number in range(TRIALS):
        folder.write_trial(_falling(number))
    end_study(folder)
    tracker = mlflow_tracker(folder, make_experiment(), default_uri(storage))
    tracker.start()
    report = tracker.finish(timeout_s=300)
    assert not report.pending, report.problem


def _falling(number: int) -> Any:
    """A trial of which each round is sparser than the one before, and returns less."""
    trial = make_trial(number)
    points = []
    for at, point in enumerate(trial.points):
        sparsity = 1 - 0.4 * 0.55 ** (at + number / TRIALS)
        value = 500 - (2 + number / 3) * 2.2**at
        nonzero = round(point.parameters * (1 - sparsity))
        told = point.returned.model_copy(
            update={"iqm": value, "each": [value] * 20, "low": value - 9, "high": value + 9}
        )
        changed = {
            "sparsity": 1 - nonzero / point.parameters,
            "nonzero": nonzero,
            "compression": point.parameters / nonzero,
            "returned": told,
            "retention": (value - 20) / 480,
        }
        points.append(point.model_copy(update=changed))
    return trial.model_copy(update={"points": points})


@contextmanager
def served(storage: Path) -> Iterator[str]:
    """`prune-search ui` on the storage; gives the address that it prints first."""
    where = ("--storage", str(storage), "--port", str(free_port()))
    server = python("-m", "tuners.cli", "ui", *where)
    try:
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        assert line.startswith("http://"), line
        yield line
    finally:
        server.terminate()
        server.wait(60)


def chart(page: Any, address: str) -> None:
    """The address that `run` and `ui` print, as it is first seen."""
    page.goto(address)
    page.locator(".scatterlayer .trace").first.wait_for()
    page.locator(".parcoords .dimension").first.wait_for()


def table(page: Any, address: str) -> None:
    """The tab that compares tables."""
    page.goto("about:blank")
    page.goto(address.replace("compareRunsMode=CHART", "compareRunsMode=ARTIFACT"))
    page.get_by_text("99.9 %").wait_for()


def experiment(page: Any, address: str) -> None:
    """From the first page to the experiment's own, by clicks."""
    page.goto("about:blank")
    page.goto(address.partition("#")[0])
    page.get_by_role("link", name="prune-search", exact=True).click()
    page.get_by_role("link", name="t00 ").first.wait_for()


def trial(page: Any, address: str) -> None:
    """A trial's page, from the list of runs."""
    experiment(page, address)
    page.get_by_role("link", name="t00 ").first.click()
    page.get_by_role("tab", name="Model metrics").click()
    page.locator(".scatterlayer .trace").first.wait_for()


def summary(page: Any, address: str) -> None:
    """The study's own page, from the list of runs."""
    experiment(page, address)
    page.get_by_role("link", name="summary ").first.click()
    page.get_by_text("Dense baseline").first.wait_for()


def compare(page: Any, address: str) -> None:
    """The page that compares runs, by the address that `run` prints."""
    experiment(page, address)
    links = page.get_by_role("link", name=re.compile(r"^t\d\d ")).all()
    runs = [link.get_attribute("href").rpartition("/")[2].partition("?")[0] for link in links]
    page.goto("about:blank")
    page.goto(compare_url(address.partition("/#")[0], "1", runs))
    page.get_by_text("Comparing").first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()


def report(page: Any, storage: str, name: str) -> None:
    """The beginning of a study's report."""
    folder, settings = open_study(storage, name)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "report.html"
        write(report_of(folder, settings), folder, path)
        page.goto(path.as_uri())


PAGES: list[Callable[[Any, str], None]] = [chart, table, experiment, trial, summary, compare]


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--storage", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        if options.storage is None:
            make(Path(made))
        storage = options.storage or Path(made)
        with served(storage) as address, chromium() as page:
            for show in PAGES:
                try:
                    show(page, address)
                finally:
                    page.wait_for_timeout(2_000)  # fades and late rows
                    page.screenshot(path=options.out / f"{show.__name__}.png")
            page.set_viewport_size({"width": 1000, "height": 1000})
            for name in studies(str(storage)):
                report(page, str(storage), name)
                page.screenshot(path=options.out / f"report-{name}.png")


if __name__ == "__main__":
    main()
