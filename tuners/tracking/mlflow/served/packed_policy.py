"""Plays a packed policy: NumPy, SciPy, constriction, and the reading code that lies beside it."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from prune_search.packed.file import read
from prune_search.policy.reference import act, draw_noise


class PackedPolicy(mlflow.pyfunc.PythonModel):
    """Rows of observations go in, and the state of each if the policy has one; actions come out."""

    def load_context(self, context: Any) -> None:
        self._policy = read(Path(context.artifacts["policy"])).policy
        self._generator = np.random.default_rng()

    # MLflow warns of any other hint, and of none; it is a dict where the policy has a state.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
        given = model_input if isinstance(model_input, dict) else {"observations": model_input}
        observations = np.asarray(given["observations"], np.float32)
        state = given.get("state")
        noise = draw_noise(self._policy, len(observations), self._generator)
        actions, after = act(self._policy, observations, state, noise)
        return {"actions": actions, "next_state": after} if self._policy.state_size else actions


mlflow.models.set_model(PackedPolicy())
