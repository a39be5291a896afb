"""Target litert: for LiteRT, TensorFlow Lite's successor, on phones and small boards."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, card_in, register_target
from prune_search.artifacts.base import missing as missing_package
from prune_search.artifacts.card import Card
from prune_search.errors import UserError, one_line
from prune_search.policy.arrays import Array
from prune_search.policy.torch_policy import TorchPolicy

MODEL, CARD = "policy.tflite", "policy.json"


@register_target("litert")
class LiteRTTarget(Target):
    """A folder: `policy.tflite`, of one observation at a time, and `policy.json`."""

    suffix = ""

    def write(self, material: Material, path: Path) -> None:
        policy = material.described
        sizes = [size for size in (policy.state_size, policy.action.noise_size) if size]
        given = [torch.zeros(1, *policy.observation_shape), *(torch.zeros(1, n) for n in sizes)]
        with _quiet():
            try:
                import litert_torch
            except ModuleNotFoundError:
                raise missing_package("litert-torch", "litert") from None
            try:
                made = litert_torch.convert(TorchPolicy(policy).eval(), tuple(given))
                path.mkdir()
                made.export(str(path / MODEL))
            except Exception as error:  # whatever it has no place for
                raise UserError(f"export: target litert: {one_line(error)}") from None
        (path / CARD).write_text(material.card.model_dump_json(indent=1), encoding="utf-8")

    def opens(self, path: Path) -> bool:
        return (path / MODEL).is_file() and (path / CARD).is_file()

    def open(self, path: Path) -> Artifact:
        card = card_in(path, CARD, "litert")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            raise missing_package("ai-edge-litert", "litert") from None
        try:
            with _quiet():
                interpreter = Interpreter(str(path / MODEL), num_threads=1)
                interpreter.allocate_tensors()
        except Exception as error:
            raise UserError(
                f"file: {str(path)!r} is no policy of target litert: {one_line(error)}"
            ) from None
        return LiteRTArtifact(interpreter, card)


class LiteRTArtifact(Artifact):
    """An interpreter of LiteRT that acts, on one thread."""

    def __init__(self, interpreter: Any, card: Card) -> None:
        self.card, self._interpreter = card, interpreter
        # Their names end with their places, args_0, args_1, ...; as details they are in any order.
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        by_name = sorted(inputs, key=lambda one: str(one["name"]).partition("args_")[2])
        self._inputs = [one["index"] for one in by_name]
        by_name = sorted(outputs, key=lambda one: str(one["name"]).partition("output_")[2])
        self._outputs = [one["index"] for one in by_name]

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        given = [observation, *([state] if self.card.state_size else [])]
        given += [] if noise is None else [noise]
        for place, array in zip(self._inputs, given, strict=True):
            self._interpreter.set_tensor(place, np.ascontiguousarray(array, np.float32))
        self._interpreter.invoke()
        action, *after = (self._interpreter.get_tensor(place) for place in self._outputs)
        found = action.astype(np.int64) if self.card.discrete else action
        return found.reshape(1, *self.card.action_shape), after[0] if after else state


@contextmanager
def _quiet() -> Iterator[None]:
    """The converter reports its passes on both streams, Python's and the process's."""
    streams, level = (1, 2), logging.root.manager.disable
    kept = [os.dup(stream) for stream in streams]
    logging.disable(logging.WARNING)
    try:
        with Path(os.devnull).open("w") as sink, redirect_stdout(sink), redirect_stderr(sink):
            for stream in streams:
                os.dup2(sink.fileno(), stream)
            yield
    finally:
        logging.disable(level)
        for stream, own in zip(streams, kept, strict=True):
            os.dup2(own, stream)
            os.close(own)
