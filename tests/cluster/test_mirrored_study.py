"""A study whose machine is lost with its disk goes on from the mirror, in a bucket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState

from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder
from tuners.search.database import states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COMMAND = [sys.executable, "-m", "tuners.cli"]


def test_a_machine_that_is_lost_with_its_disk(tiny: Any, objects: str, tmp_path: Path) -> None:
    import boto3

    keys = {"AWS_ENDPOINT_URL": objects, "AWS_DEFAULT_REGION": "us-east-1"}
    keys |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    store: Any = boto3.client(
        "s3",
        endpoint_url=objects,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    )
    store.create_bucket(Bucket="lost")
    storage, log = tmp_path / "studies", tmp_path / "log"
    mirror = "s3://lost/studies"
    file = tmp_path / "lost.yaml"
    file.write_text(experiment_file.dump(tiny(f"mirror={mirror}", storage=storage)))

    def stored(number: int) -> list[Any]:
        """The points of a trial that the mirror knows."""
        key = f"studies/lost/trials/t{number:02d}/trial.json"
        try:
            body = store.get_object(Bucket="lost", Key=key)["Body"].read()
        except store.exceptions.NoSuchKey:
            return []
        found: list[Any] = json.loads(body)["points"]
        return found

    with log.open("wb") as stream:
        driver = subprocess.Popen(
            [*COMMAND, "run", str(file)], env=os.environ | keys, stdout=stream, stderr=stream
        )
    try:
        end = time.monotonic() + 200
        while not stored(1):
            assert driver.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
    finally:
        family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        for process in family:
            process.kill()
        driver.wait()
    psutil.wait_procs(family, timeout=10)
    finished = [*stored(0), *stored(1)]
    shutil.rmtree(storage)

    ended = subprocess.run(
        [
            *COMMAND,
            "resume",
            "lost",
            "--storage",
            str(storage),
            "--mirror",
            mirror,
            "--trust-checkpoint",
        ],
        env=os.environ | keys,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = StudyFolder(storage, "lost")
    trials = folder.trials()
    assert [trial.state for trial in trials] == ["complete"] * 2
    points = [json.loads(point.model_dump_json()) for trial in trials for point in trial.points]
    assert [(p["trial"], p["round"]) for p in points] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    # To the time at which it was measured: nothing finished was measured again.
    assert len(finished) >= 3 and points[: len(finished)] == finished
    assert set(states(folder).values()) == {TrialState.COMPLETE}
    assert folder.final() is not None and len(states(folder)) == 2
