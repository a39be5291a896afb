"""Targets onnx and onnx-int8: for ONNX Runtime, in any of its languages and in browsers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, missing, register_target
from prune_search.artifacts.card import Card
from prune_search.errors import UserError, one_line
from prune_search.policy.arrays import Array

_CARD = "prune_search"
"""The card's key in the model's metadata."""
_QUANTIZED = ["Gemm", "Conv"]


@register_target("onnx")
class OnnxTarget(Target):
    """One file, of any number of observations at a time; numbers are float32."""

    suffix = ".onnx"

    def write(self, material: Material, path: Path) -> None:
        onnx = _onnx()
        model = self._model(material)
        entry = model.metadata_props.add()
        entry.key, entry.value = _CARD, material.card.model_dump_json()
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))

    def _model(self, material: Material) -> Any:
        from prune_search.artifacts.onnx_graph import onnx_model

        return onnx_model(material.described)

    def opens(self, path: Path) -> bool:
        return path.suffix == self.suffix

    def open(self, path: Path) -> Artifact:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            held = session.get_modelmeta().custom_metadata_map
            return OnnxArtifact(session, Card.model_validate_json(held.get(_CARD, "")))
        except Exception as error:
            raise UserError(
                f"file: {str(path)!r} is no policy of target onnx: {one_line(error)}"
            ) from None


@register_target("onnx-int8")
class QuantizedOnnxTarget(OnnxTarget):
    """As onnx, with integers of 8 bits: ONNX Runtime's own quantizer, each output channel apart.

    Activations are calibrated on observations that the policy has seen. Weights use 7 of their 8
    bits, so that the file acts alike on processors with and without instructions for such sums.
    """

    def _model(self, material: Material) -> Any:
        onnx = _onnx()
        _runtime()
        from onnxruntime import quantization

        if material.described.state_size or material.described.action.noise_size:
            raise UserError(
                "export: target onnx-int8 has no place for a policy with a state or sampled"
                " actions; these have: torch, onnx, c"
            )
        with tempfile.TemporaryDirectory() as folder:
            plain, small = Path(folder, "plain.onnx"), Path(folder, "small.onnx")
            onnx.save(super()._model(material), str(plain))
            root, level = logging.getLogger(), logging.getLogger().level
            root.setLevel(logging.ERROR)  # it advises preprocessing, of which these need none
            try:
                quantization.quantize_static(
                    str(plain),
                    str(small),
                    _reader(material.observations),
                    op_types_to_quantize=_QUANTIZED,
                    per_channel=True,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    # Of x86 without VNNI, sums of two products of 8 bits overflow 16.
                    reduce_range=True,
                )
            finally:
                root.setLevel(level)
            return onnx.load(str(small))


class OnnxArtifact(Artifact):
    """A session of ONNX Runtime that acts, on one thread."""

    rows = True

    def __init__(self, session: Any, card: Card) -> None:
        self.card, self._session = card, session

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        given = {"observations": observation}
        if self.card.state_size:
            given["state"] = state
        if noise is not None:
            given["noise"] = noise
        action, *after = self._session.run(None, given)
        return action, after[0] if after else state


def _reader(observations: Array) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows: Iterator[Array] = iter(observations)

        def get_next(self) -> dict[str, Array] | None:
            row = next(self._rows, None)
            return None if row is None else {"observations": np.ascontiguousarray(row[None])}

    return Reader()


def _onnx() -> Any:
    try:
        import onnx
    except ModuleNotFoundError:
        raise missing("onnx", "onnx") from None
    return onnx


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise missing("onnxruntime", "onnx") from None
    return onnxruntime
