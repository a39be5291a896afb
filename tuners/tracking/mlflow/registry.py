"""MLflow's model registry: an artifact as a pyfunc that serves without Ray and without RLlib."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import prune_search
from prune_search.artifacts.base import Artifact, open_artifact
from prune_search.artifacts.card import Card
from prune_search.errors import UserError
from prune_search.policy.actions import draw
from prune_search.policy.arrays import Array
from tuners.tracking.mlflow import served
from tuners.tracking.mlflow.client import client_of, described, experiment_named

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_READING = (
    *("__init__.py", "lazy.py", "errors.py", "credentials.py", "registry.py"),
    *("compression", "packed", "policy"),
)
"""What of this package reads packed files."""


@dataclass(frozen=True)
class Served:
    """What plays a target's artifacts in MLflow."""

    script: str
    """In `served/`."""
    packages: tuple[str, ...]
    """What it needs, beside MLflow."""
    code: tuple[str, ...] = ()
    """Files and folders of this package that go with it."""


SERVED = {
    "onnx": Served("onnx_policy.py", ("numpy", "onnxruntime")),
    "onnx-int8": Served("onnx_policy.py", ("numpy", "onnxruntime")),
    "packed": Served("packed_policy.py", ("numpy", "scipy", "constriction"), _READING),
}
"""By target. MLflow's servers have no compiler, and what they have of torch is a gigabyte."""


@dataclass(frozen=True)
class Source:
    """Where a policy comes from."""

    tags: Mapping[str, str]
    """What is known of it; on the model and on its version."""
    run: str | None = None
    """Id of the run that the model becomes an output of."""
    step: int = -1
    """The metrics that the run has at this step are the model's; it has none at -1."""


class ModelRegistry:
    """The registry of a tracking server.

    Args:
        uri: the server's address.
        experiment: name of MLflow's experiment that the models lie in.

    Raises:
        UserError: it does not answer.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        with self._answering():
            self._client = client_of(uri)
            found = experiment_named(self._client, uri, experiment, {})
        self._experiment_id = str(found.experiment_id)

    @property
    def place(self) -> str:
        """For messages."""
        return f"MLflow at {self.uri}"

    def check(self, name: str) -> None:
        """Raises UserError where a registered model can't have this name."""
        from mlflow.exceptions import MlflowException

        with self._answering():
            try:
                self._client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    raise UserError(f"--as: {described(error)}") from None
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

    def run_of(self, study_id: str, key: str) -> str | None:
        """Id of a study's run, by its trial's name or `summary`; None where it is not tracked."""
        known = f"tags.study_id = '{study_id}'"
        which = "tags.kind = 'summary'" if key == "summary" else f"tags.trial = '{key}'"
        with self._answering():
            found = self._client.search_runs([self._experiment_id], f"{known} and {which}")
        return found[0].info.run_id if found else None

    def add(self, name: str, path: Path, example: Array, source: Source) -> int:
        """Makes an artifact the next version of a registered model.

        What was logged is loaded again and asked for the example's action, before it is registered.

        Args:
            name: the registered model's.
            path: the artifact, of a target in `SERVED`.
            example: [1, *observation_shape].
            source: where it comes from.

        Returns:
            The version.

        Raises:
            UserError: the server does not answer, or what was logged acts otherwise.
        """
        artifact = open_artifact(path)
        card, plays = artifact.card, SERVED[artifact.card.target]
        with self._answering(), self._current():
            import mlflow
            from mlflow.models import Model

            run = self._client.get_run(source.run) if source.run else None
            model = self._client.create_logged_model(
                self._experiment_id,
                name="policy",
                source_run_id=source.run,
                tags=dict(source.tags),
                params=dict(run.data.params) if run else {},
            )
            with tempfile.TemporaryDirectory() as folder:
                logged = Model.log(
                    artifact_path=None,
                    flavor=mlflow.pyfunc,
                    model_id=model.model_id,
                    run_id=source.run,
                    step=source.step,
                    metadata=dict(source.tags),
                    python_model=str(Path(served.__file__).with_name(plays.script)),
                    artifacts={"policy": str(path)},
                    code_paths=_code(plays.code, Path(folder)),
                    pip_requirements=[f"{each}=={version(each)}" for each in plays.packages],
                    signature=signature(card),
                    input_example=_given(card, example),
                )
            if problem := _difference(logged.model_uri, artifact, example):
                self._client.delete_logged_model(model.model_id)
                raise UserError(f"register: {card.name} {problem}; it was not registered")
            made = mlflow.register_model(logged.model_uri, name, tags=dict(source.tags))
        return int(made.version)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What MLflow, requests or SQLAlchemy raises, in one line; what MLflow says, unsaid."""
        try:
            with redirect_stderr(StringIO()):
                yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"tracking.uri: {self.place}: {described(error)}") from None

    @contextmanager
    def _current(self) -> Iterator[None]:
        """MLflow logs to the process's tracking URI, and leaves the code of what it loads there."""
        import mlflow

        before, path = mlflow.get_tracking_uri(), list(sys.path)
        mlflow.set_tracking_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)
            sys.path[:] = path


def check_served(target: str) -> None:
    """Raises UserError where nothing plays a target's artifacts in MLflow."""
    if target not in SERVED:
        raise UserError(
            f"--to: nothing serves {target} in MLflow; what can be registered: {', '.join(SERVED)}"
        )


def signature(card: Card) -> ModelSignature:
    """What goes in, and what comes out: tensors of any number of rows, with names if several."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    def rows(kind: type, *shape: int, name: str) -> TensorSpec:
        return TensorSpec(np.dtype(kind), (-1, *shape), name if card.state_size else None)

    inputs = [rows(np.float32, *card.observation_shape, name="observations")]
    outputs = [rows(np.int64 if card.discrete else np.float32, *card.action_shape, name="actions")]
    if card.state_size:
        inputs.append(rows(np.float32, card.state_size, name="state"))
        outputs.append(rows(np.float32, card.state_size, name="next_state"))
    return ModelSignature(Schema(inputs), Schema(outputs))


def _difference(uri: str, artifact: Artifact, example: Array) -> str:
    """What a model does otherwise than its file, on an example; empty if nothing."""
    import mlflow

    card = artifact.card
    found = mlflow.pyfunc.load_model(uri).predict(_given(card, example))
    actions = np.asarray(found["actions"] if card.state_size else found)
    state = np.zeros((1, card.state_size), np.float32)
    noise = draw(card.noise, 1, card.noise_size, np.random.default_rng(0))
    want, _ = artifact.step(example, state, noise)
    # Sampled actions differ each time.
    same = card.noise_size > 0 or np.allclose(actions, want, rtol=1e-5, atol=1e-5)
    if actions.shape == want.shape and same:
        return ""
    return f"does {want.tolist()}, and in MLflow {actions.tolist()}"


def _given(card: Card, example: Array) -> NDArray[Any] | dict[str, NDArray[Any]]:
    if not card.state_size:
        return example
    return {"observations": example, "state": np.zeros((1, card.state_size), np.float32)}


def _code(names: tuple[str, ...], folder: Path) -> list[str] | None:
    """A copy of the part of this package that a script needs, as MLflow takes it."""
    if not names:
        return None
    source, target = Path(prune_search.__file__).parent, folder / "prune_search"
    target.mkdir()
    for name in names:
        if (source / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / name, target / name, ignore=left_out)
        else:
            shutil.copy(source / name, target)
    return [str(target)]
