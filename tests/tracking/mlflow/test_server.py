"""The server of `prune-search ui`."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_search.errors import UserError
from tests.cluster.servers import free_port
from tests.commands import python
from tests.studies import make_experiment, make_study, make_trial, mlflow_tracker
from tests.tracking.stores import by_trial, tracked, wait_for
from tuners.tracking.mlflow.server import ui
from tuners.tracking.mlflow.tracking import default_uri


@pytest.mark.slow
def test_the_server_shows_a_store_and_takes_what_was_pending(storage: Path) -> None:
    tracked(storage, make_study(storage, trials=1, name="earlier"))
    folder, port = make_study(storage, trials=1), free_port()
    tracker = mlflow_tracker(folder, make_experiment(), f"http://127.0.0.1:{port}")
    tracker.start()
    tracker.trial_changed(make_trial(0))
    wait_for(lambda: tracker.problem != "")

    code = (
        "from tuners.tracking.mlflow.server import ui\n"
        f"ui({default_uri(storage)!r}, 'prune-search', port={port},"
        " show=lambda line: print(line, flush=True))"
    )
    server = python("-c", code)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?"), line
        with pytest.raises(UserError, match="--port: can't listen on"):
            ui(default_uri(storage), "prune-search", port=port)
        report = tracker.finish(timeout_s=60)
        assert report.pending == [] and report.problem == ""
        assert tracker.problem == ""
        children = children_of(server.pid)
        assert children
    finally:
        server.terminate()
        assert server.wait(20) == 0
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert sorted(by_trial(storage, report)) == ["summary", "t00"]
    assert (
        storage / "mlartifacts" / report.where.runs["t00"] / "artifacts" / "front.html"
    ).is_file()


def test_the_server_says_what_is_missing(storage: Path) -> None:
    with pytest.raises(UserError, match="no MLflow store at"):
        ui(default_uri(storage / "elsewhere"), "prune-search")
    with pytest.raises(UserError, match="has no experiment 'nowhere' yet"):
        ui(default_uri(storage), "nowhere")
    with pytest.raises(UserError, match=r"tracking\.uri"):
        ui(f"http://127.0.0.1:{free_port()}", "prune-search")


def children_of(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children_of(child)]
    return found
