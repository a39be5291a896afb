"""Plays a policy in an ONNX file: ONNX Runtime and NumPy are enough."""

import json
from typing import Any

import mlflow
import numpy as np
import onnxruntime


class OnnxPolicy(mlflow.pyfunc.PythonModel):
    """Rows of observations go in, and the state of each if the policy has one; actions come out."""

    def load_context(self, context: Any) -> None:
        self._session = onnxruntime.InferenceSession(
            context.artifacts["policy"], providers=["CPUExecutionProvider"]
        )
        card = json.loads(self._session.get_modelmeta().custom_metadata_map["prune_search"])
        self._noise, self._noise_size = card["noise"], card["noise_size"]
        self._generator = np.random.default_rng()

    # MLflow warns of any other hint, and of none; it is a dict where the policy has a state.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
        given = model_input if isinstance(model_input, dict) else {"observations": model_input}
        given = {name: np.asarray(values, np.float32) for name, values in given.items()}
        if self._noise_size:
            draw = getattr(self._generator, "gumbel" if self._noise == "gumbel" else "normal")
            size = (len(given["observations"]), self._noise_size)
            given["noise"] = draw(size=size).astype(np.float32)
        actions, *after = self._session.run(None, given)
        return {"actions": actions, "next_state": after[0]} if after else actions


mlflow.models.set_model(OnnxPolicy())
