"""Keras's models on torch: layout, masks through training, and the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prune_search.keras import enforce, held, parameters
from prune_search.sparsity import MaskSet, couplings, prune, size

os.environ["KERAS_BACKEND"] = "torch"


@pytest.fixture(scope="module")
def keras() -> Any:
    found = pytest.importorskip("keras", reason="needs prune-search[keras]")
    found.utils.set_random_seed(1)
    return found


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    images = generator.random((64, 6, 6, 2), np.float32)
    return images, generator.integers(0, 3, 64)


def small(keras: Any, optimizer: Any) -> Any:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)
    return model


def test_kernels_are_read_in_torchs_layout(keras: Any, data: Any) -> None:
    """Fan-in lies in the second axis: the convolution computes what torch's does."""
    model = small(keras, "sgd")
    kernels = {name: p for name, p in parameters(model).items() if name.endswith("kernel")}
    assert sorted(tuple(p.shape) for p in kernels.values()) == [(3, 12), (4, 2, 3, 3), (12, 64)]
    first, bias = list(parameters(model).values())[:2]
    images = torch.tensor(data[0])
    want = model.layers[0](images).relu()
    got = torch.nn.functional.conv2d(images.permute(0, 3, 1, 2), first, bias).relu()
    assert torch.allclose(got.permute(0, 2, 3, 1), want, atol=1e-5)
    masks = MaskSet()
    dense = [name for name, p in kernels.items() if p.dim() == 2]
    prune(masks, {name: kernels[name] for name in dense}, 0.5, granularity="2:4")
    rows = torch.as_tensor(model.layers[3].kernel.value).t().reshape(12, -1, 4)
    assert bool(((rows != 0).sum(-1) == 2).all())  # two of four inputs of each unit


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("Adam", {"weight_decay": 0.1}),
        ("Adam", {"use_ema": True}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Lion", {}),
    ],
)
def test_masked_weights_stay_zero_through_fit(
    keras: Any, data: Any, optimizer: str, settings: dict[str, Any]
) -> None:
    """And their moments are zero, though training had begun without masks."""
    model = small(keras, getattr(keras.optimizers, optimizer)(0.01, **settings))
    model.fit(*data, epochs=1, batch_size=16, verbose=0)
    masks = MaskSet()
    prune(masks, parameters(model), 0.8)
    before = {key: value.clone() for key, value in parameters(model).items()}
    model.fit(*data, epochs=2, batch_size=16, verbose=0, callbacks=[held(masks)])
    after = parameters(model)
    assert size(after).weight_sparsity == pytest.approx(0.8, abs=0.01)
    for name, mask in masks.masks.items():
        assert not after[name][~mask].any()
        assert (after[name] != before[name]).any()
        moments = [
            each.value
            for each in model.optimizer.variables
            if name.replace("/", "_") + "_" in each.name
        ]
        assert moments
        axes = [*range(2, mask.dim()), 1, 0]
        assert not any(moment[~mask.permute(axes)].any() for moment in moments)


def test_without_the_callback_masks_do_not_hold(keras: Any, data: Any) -> None:
    model, masks = small(keras, "adam"), MaskSet()
    prune(masks, parameters(model), 0.8)
    model.train_on_batch(*data)
    assert size(parameters(model)).weight_sparsity < 0.5
    enforce(masks, model)
    assert size(parameters(model)).weight_sparsity == pytest.approx(0.8, abs=0.01)


def test_a_file_keeps_the_zeros(keras: Any, data: Any, tmp_path: Path) -> None:
    model, masks = small(keras, "adam"), MaskSet()
    prune(masks, parameters(model), 0.9, allocation="erk")
    model.fit(*data, epochs=1, verbose=0, callbacks=[held(masks)])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, value in parameters(model).items():
        assert torch.equal(parameters(again)[name], value)
    again.fit(*data, epochs=1, verbose=0, callbacks=[held(masks)])
    assert size(parameters(again)).weight_sparsity == pytest.approx(0.9, abs=0.01)


def test_what_is_not_known_is_refused_by_name(keras: Any, data: Any) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(9, 5, name="words")])
    with pytest.raises(ValueError, match=r"words/embeddings' \(9, 5\) is no kernel"):
        parameters(model)
    model, masks = small(keras, "adam"), MaskSet({"other/kernel": torch.ones(2, 2).bool()})
    with pytest.raises(ValueError, match="'other/kernel' is masked, and none"):
        model.fit(*data, epochs=1, verbose=0, callbacks=[held(masks)])
    with pytest.raises(ValueError, match="Keras"):
        couplings(model, torch.tensor(data[0]), lambda module, images: [module(images)])
