"""A registered policy does in MLflow what its file does, with nothing of ours around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import mlflow
import numpy as np
import pytest

from prune_search.artifacts.base import open_artifact
from prune_search.artifacts.targets import find_target
from prune_search.errors import UserError
from tests.cluster.servers import free_port
from tests.describable import given, material
from tuners.tracking.mlflow.registry import ModelRegistry, Source, check_served
from tuners.tracking.mlflow.tracking import default_uri

_ABOVE = ("ray", "torch", "tuners")
HIDING = """
import sys
from importlib.machinery import PathFinder


class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name in {hidden}:
            raise ModuleNotFoundError(name)
        if name == "prune_search":
            assert "/code/prune_search/" in PathFinder.find_spec(name).origin


sys.meta_path.insert(0, Hiding())
"""
"""What is hidden is not there, and of this package only what lies with the model."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return ModelRegistry(default_uri(tmp_path_factory.mktemp("mlflow")), "prune-search")


def added(registry: ModelRegistry, name: str, target: str, folder: Path, model: str = "") -> Path:
    """One of the described policies, as version 1 of a model of its name and target."""
    kind = find_target(target)
    path = folder / f"policy{kind.suffix}"
    kind.write(material(name, target), path)
    model = model or f"{name}-{target}"
    assert registry.add(model, path, given(name, 1)[0], Source({"point": "t1/1"})) == 1
    return path


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("categories", "onnx"),
        pytest.param("recurrent", "onnx", marks=pytest.mark.slow),
        pytest.param("image", "packed", marks=pytest.mark.slow),
    ],
)
def test_models_do_what_their_files_do(
    registry: ModelRegistry, name: str, target: str, tmp_path: Path
) -> None:
    """With a state, with sampled actions, and with images."""
    before, path = (mlflow.get_tracking_uri(), mlflow.get_registry_uri()), list(sys.path)
    artifact = open_artifact(added(registry, name, target, tmp_path))
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before and sys.path == path
    client = mlflow.MlflowClient(registry.uri)
    version = client.get_model_version(f"{name}-{target}", "1")
    assert version.tags["point"] == "t1/1" and version.status == "READY"
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    folder = mlflow.artifacts.download_artifacts(logged.artifact_location)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = mlflow.pyfunc.load_model(folder)
    assert model.input_example is not None
    needed = Path(folder, "requirements.txt").read_text()
    assert "numpy" in needed and not any(each in needed for each in ("ray", "torch", "prune"))
    seen, state, noise = given(name, 3)
    if name == "recurrent":  # its actions are sampled: what it remembers is not
        found = model.predict({"observations": seen, "state": state})
        noise = np.zeros((1, artifact.card.noise_size), np.float32)
        want = [artifact.step(seen[[row]], state[[row]], noise)[1][0] for row in range(3)]
        assert found["actions"].shape == (3, *artifact.card.action_shape)
        np.testing.assert_allclose(found["next_state"], want, atol=1e-6)
    elif noise is not None:
        drawn = [model.predict(seen[:1])[0].tolist() for _ in range(40)]
        assert len({tuple(each) for each in drawn}) > 1  # not always the same
        assert all(1 <= first <= 2 and 5 <= second <= 7 for first, second in drawn)
    else:
        want = [artifact.step(seen[[row]], state[[row]], None)[0][0] for row in range(3)]
        np.testing.assert_allclose(model.predict(seen), want, atol=1e-5)


def test_what_is_no_name_and_no_server_is_said(
    registry: ModelRegistry,
) -> None:
    registry.check("new")
    for name in ("a/b", ""):
        with pytest.raises(UserError, match=r"^--as: .*name"):
            registry.check(name)
    with pytest.raises(UserError, match=r"tracking.uri: MLflow at http://.*: no answer: .*refused"):
        ModelRegistry(f"http://127.0.0.1:{free_port()}", "prune-search")
    with pytest.raises(UserError, match=r"--to: nothing serves c in MLflow; .*: onnx, onnx-int8"):
        check_served("c")


def test_what_acts_otherwise_in_mlflow_is_not_registered(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow.pyfunc.PyFuncModel.predict", lambda *_: np.array([7]))
    with pytest.raises(UserError, match=r"does \[\d\], and in MLflow \[7\]; it was not registered"):
        added(registry, "vector", "onnx", tmp_path)
    found = mlflow.MlflowClient(registry.uri).search_registered_models("name = 'vector-onnx'")
    assert list(found) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "hidden"),
    [("onnx", ("ray", "torch", "tuners", "prune_search")), ("packed", ("ray", "torch", "tuners"))],
)
def test_mlflow_serves_the_right_actions_without_ray(
    registry: ModelRegistry, target: str, hidden: tuple[str, ...], tmp_path: Path
) -> None:
    artifact = open_artifact(added(registry, "image", target, tmp_path, f"served {target}"))
    (tmp_path / "sitecustomize.py").write_text(HIDING.replace("{hidden}", repr(hidden)))
    seen, state, _ = given("image", 5)
    with served(registry.uri, f"models:/served {target}/1", tmp_path) as address:
        found = asked(address, {"inputs": seen.tolist()})["predictions"]
    want = [artifact.step(seen[[row]], state[[row]], None)[0][0] for row in range(5)]
    np.testing.assert_allclose(found, want, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-3


@contextmanager
def served(uri: str, model: str, path: Path) -> Iterator[str]:
    """`mlflow models serve`, whose Python finds modules in `path` first; gives its address."""
    port = free_port()
    options = ("--env-manager", "local", "--port", str(port))
    # MLflow starts uvicorn by this name, whichever Python's that is.
    script = path / "uvicorn"
    script.write_text(f"#!{sys.executable}\nfrom uvicorn.main import main\n\nmain()\n")
    script.chmod(0o755)
    at = {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, *options],
        env={**os.environ, **at, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"},
        cwd=path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 300
    try:
        while True:
            assert server.poll() is None and time.monotonic() < deadline, server.communicate()[0]
            try:
                with urlopen(f"{address}/ping", timeout=5):
                    break
            except (URLError, OSError):
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def asked(address: str, question: dict[str, Any]) -> Any:
    """What the server answers."""
    data, kind = json.dumps(question).encode(), {"Content-Type": "application/json"}
    with urlopen(Request(f"{address}/invocations", data, kind), timeout=60) as answer:
        return json.load(answer)
