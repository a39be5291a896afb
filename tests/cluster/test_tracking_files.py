"""The tracking server's files: composition, start script, image."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
TRACKING = ROOT / "cluster" / "tracking"
SECRET = re.compile(r"^\$\{[A-Z_]+:\?[^}]+\}$")


@pytest.fixture(scope="module")
def services() -> Any:
    return yaml.safe_load((TRACKING / "compose.yaml").read_text())["services"]


def test_every_secret_of_the_composition_is_asked_for(services: Any) -> None:
    secret = {
        f"{name}.{key}": value
        for name, service in services.items()
        for key, value in service["environment"].items()
        if any(word in key for word in ("PASSWORD", "SECRET"))
    }
    assert len(secret) == 6
    assert all(SECRET.match(value) for value in secret.values()), secret


def test_only_mlflow_is_published_and_on_loopback(services: Any) -> None:
    published = {name: service.get("ports", []) for name, service in services.items()}
    assert published == {"postgres": [], "objects": [], "mlflow": ["127.0.0.1:5000:5000"]}


def test_compose_and_kubernetes_start_the_same_server(services: Any) -> None:
    manifests = yaml.safe_load_all((ROOT / "cluster/kubernetes/tracking.yaml").read_text())
    (pod,) = (item for item in manifests if item["kind"] == "Deployment")
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    mlflow = services["mlflow"]
    assert container["command"] == mlflow["command"]
    assert container["image"] == mlflow["image"]
    names = {variable["name"] for variable in container["env"]}
    # In Kubernetes clients reach it by a name, which MLflow takes from no one unless told.
    assert names - set(mlflow["environment"]) == {"MLFLOW_SERVER_ALLOWED_HOSTS"}
    assert set(mlflow["environment"]) <= names
    for variable in container["env"]:
        if "value" in variable and variable["name"] in mlflow["environment"]:
            assert variable["value"] == mlflow["environment"][variable["name"]]


def test_the_server_says_what_it_lacks() -> None:
    ended = subprocess.run(
        [TRACKING / "serve.sh"],
        env={"PATH": "/usr/bin:/bin", "PGHOST": "127.0.0.1", "PGUSER": "mlflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, "serve.sh: PGDATABASE is not set\n")


def test_the_image_holds_the_project_and_is_not_root(services: Any) -> None:
    parser = DockerfileParser(path=str(ROOT / "cluster" / "Dockerfile"))
    steps = [(step["instruction"], step["value"]) for step in parser.structure]
    assert parser.baseimage == "python:3.12-slim"
    assert ("USER", "1000") in steps and parser.envs["RAY_AUTH_MODE"] == "token"
    installs = [value for kind, value in steps if kind == "RUN" and "pip install" in value]
    assert installs and "/src[cluster,server]" in installs[0]
    copied = [value.split()[:-1] for kind, value in steps if kind == "COPY"]
    assert all((ROOT / path).exists() for paths in copied for path in paths)
    # What the build may read is named one by one.
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "**"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert {path for paths in copied for path in paths} == allowed
    (command,) = services["mlflow"]["command"]
    assert Path(command).parent.as_posix() in [
        value.split()[-1] for kind, value in steps if kind == "COPY"
    ]
