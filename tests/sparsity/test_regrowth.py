import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_search.sparsity.masks import MaskSet
from prune_search.sparsity.regrowth import REGROWTHS, drop_fraction, regrow, regrowth


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int, shape: tuple[int, ...], kept: float) -> tuple[Tensor, Tensor, Tensor]:
    """A masked weight, its mask and a dense gradient."""
    source = generator(seed)
    mask = torch.rand(shape, generator=source) < kept
    weight = torch.randn(shape, generator=source) * mask
    return weight, mask, torch.randn(shape, generator=source)


def test_rigl_drops_the_smallest_and_grows_the_steepest() -> None:
    weight = torch.tensor([[0.0, 5.0, -1.0, 0.0], [2.0, 0.0, 0.0, -4.0]])
    mask = weight != 0
    gradient = torch.tensor([[0.1, 99.0, 0.5, -3.0], [0.2, 2.0, -0.4, 99.0]])
    new = regrow("rigl", {"w": weight}, ["w"], {"w": mask}, 0.5, {"w": gradient}, generator())["w"]
    # -1 and 2 go; of the gradients that are not of 5 and -4, those of -3 and 2 are steepest.
    assert new.tolist() == [[False, True, False, True], [False, True, False, True]]


def test_a_weight_just_dropped_may_grow_again() -> None:
    weight = torch.tensor([3.0, 1.0, 0.0])
    mask = weight != 0
    new = regrow(
        "rigl", {"w": weight}, ["w"], {"w": mask}, 0.5, {"w": torch.tensor([0.0, 9.0, 1.0])},
        generator(),
    )["w"]  # fmt: skip
    assert torch.equal(new, mask)
    masks = MaskSet({"w": mask})
    masks.update({"w": weight}, {"w": new})
    assert weight.tolist() == [3.0, 1.0, 0.0]


@settings(max_examples=100)
@given(
    name=st.sampled_from(sorted(REGROWTHS)),
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(7,), (5, 3), (1, 1), (4, 3, 2, 2)]),
    kept=st.floats(0.0, 1.0),
    fraction=st.floats(0.0, 1.0, exclude_max=True),
)
def test_every_layer_keeps_its_count_and_its_largest(
    name: str, seed: int, shape: tuple[int, ...], kept: float, fraction: float
) -> None:
    weight, mask, gradient = drawn(seed, shape, kept)
    before = weight.clone(), mask.clone(), gradient.clone()
    new = regrow(
        name, {"w": weight}, ["w"], {"w": mask}, fraction, {"w": gradient}, generator(seed)
    )["w"]
    assert new.shape == mask.shape and new.dtype is torch.bool
    assert new.sum() == mask.sum()
    dropped = round(fraction * int(mask.sum()))
    assert int((mask & ~new).sum()) <= dropped
    gone, stay = weight.abs()[mask & ~new], weight.abs()[mask]
    if len(gone):  # what goes is among the `dropped` smallest
        assert gone.max() <= stay.sort().values[dropped - 1]
    if name == "rigl" and (new & ~mask).any():
        unused = ~mask & ~new
        assert not unused.any() or (
            gradient.abs()[new & ~mask].min() >= gradient.abs()[unused].max()
        )
    assert all(
        torch.equal(a, b) for a, b in zip(before, (weight, mask, gradient), strict=True)
    )  # its arguments are left alone


@settings(max_examples=100)
@given(seed=st.integers(0, 10_000), fraction=st.floats(0.0, 1.0, exclude_max=True))
def test_rigl_agrees_with_the_paper_by_sets(seed: int, fraction: float) -> None:
    weight, mask, gradient = drawn(seed, (6, 5), 0.4)
    indices = [i for i in range(30) if mask.flatten()[i]]
    count = round(fraction * len(indices))
    by_size = sorted(indices, key=lambda i: float(weight.abs().flatten()[i]))
    active = set(by_size[count:])
    others = [i for i in range(30) if i not in active]
    grown = sorted(others, key=lambda i: -float(gradient.abs().flatten()[i]))[:count]
    if mask.all():
        grown = by_size[:count]
    new = regrow("rigl", {"w": weight}, ["w"], {"w": mask}, fraction, {"w": gradient}, generator())[
        "w"
    ]
    assert {i for i in range(30) if new.flatten()[i]} == active | set(grown)


def test_set_depends_on_its_generator_alone() -> None:
    weight, mask, _ = drawn(0, (20, 20), 0.3)

    def run(seed: int) -> Tensor:
        torch.rand(1)  # torch's own generator plays no part
        return regrow("set", {"w": weight}, ["w"], {"w": mask}, 0.5, {}, generator(seed))["w"]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_set_grows_every_candidate_equally_often() -> None:
    weight = torch.tensor([4.0, 1.0, 0.0, 0.0, 0.0])
    source = generator()
    times = torch.zeros(5)
    for _ in range(2000):
        times += regrow("set", {"w": weight}, ["w"], {"w": weight != 0}, 0.5, {}, source)["w"]
    assert times[0] == 2000  # the largest stays
    assert times[1:].sum() == 2000
    assert ((times[1:] - 500).abs() < 80).all()  # four standard deviations


def test_on_a_net_under_adam_grown_weights_start_at_zero_and_dropped_ones_stay_there() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2)
    )
    params: dict[str, Tensor] = dict(model.named_parameters())
    layers = ["0.weight", "2.weight", "4.weight"]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    masks = MaskSet()
    masks.attach(optimizer, params)
    source = generator()
    masks.update(
        params,
        {name: torch.rand(params[name].shape, generator=source) < 0.4 for name in layers[:2]},
    )

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            inputs = torch.randn(64, 6)
            (model(inputs) - inputs[:, :2].sin()).square().mean().backward()
            optimizer.step()

    train(10)
    for name in ("rigl", "set", "rigl"):
        old = {layer: mask.clone() for layer, mask in masks.masks.items()}
        gradients = {layer: param.grad for layer, param in params.items() if param.grad is not None}
        new = regrow(name, params, layers, masks.masks, 0.3, gradients, source)
        assert new["4.weight"].all()  # dense, and stays so
        masks.update(params, new)
        for layer in layers[:2]:
            grown, dropped = new[layer] & ~old[layer], old[layer] & ~new[layer]
            assert grown.any() and grown.sum() == dropped.sum()
            weight, state = params[layer], optimizer.state[params[layer]]
            for tensor in (weight, state["exp_avg"], state["exp_avg_sq"]):
                assert not tensor[grown].any() and not tensor[dropped].any()
                assert tensor[new[layer] & old[layer]].any()
        train(10)
        for layer in layers[:2]:
            state = optimizer.state[params[layer]]
            for tensor in (params[layer], state["exp_avg"], state["exp_avg_sq"]):
                assert not tensor[~new[layer]].any()
            assert params[layer][new[layer] & ~old[layer]].all()  # what grew is trained


@pytest.mark.parametrize(
    ("name", "fraction", "gradients", "message"),
    [
        ("snfs", 0.3, {}, "unknown regrowth 'snfs'; known are: set, rigl"),
        ("set", 1.0, {}, r"fraction must be in \[0, 1\), not 1.0"),
        ("set", -0.1, {}, r"fraction must be in \[0, 1\), not -0.1"),
        ("set", math.nan, {}, r"fraction must be in \[0, 1\), not nan"),
        ("rigl", 0.3, {}, "'rigl' needs a gradient of 'w'"),
        ("rigl", 0.3, {"w": torch.ones(3)}, r"'w' has shape \(3,\), its parameter \(2,\)"),
        ("rigl", 0.3, {"w": torch.tensor([1.0, math.nan])}, "gradient of 'w' holds NaN"),
    ],
)
def test_what_it_refuses(
    name: str, fraction: float, gradients: dict[str, Tensor], message: str
) -> None:
    params = {"w": torch.tensor([1.0, 0.0])}
    masks = {"w": torch.tensor([True, False])}
    with pytest.raises(ValueError, match=message):
        regrow(name, params, ["w"], masks, fraction, gradients, generator())


def test_nan_weights_are_refused() -> None:
    params = {"w": torch.tensor([math.nan, 0.0])}
    with pytest.raises(ValueError, match="weights of 'w' hold NaN"):
        regrow("set", params, ["w"], {"w": torch.tensor([True, False])}, 0.3, {}, generator())


def test_registry_names_what_it_holds() -> None:
    assert [regrowth(name).name for name in REGROWTHS] == ["set", "rigl"]
    assert not regrowth("set").needs_gradient and regrowth("rigl").needs_gradient


def test_drop_fraction_decays_by_a_cosine() -> None:
    assert drop_fraction(0.3, 0.0, 0.75) == pytest.approx(0.3)
    assert drop_fraction(0.3, 0.375, 0.75) == pytest.approx(0.15)
    assert drop_fraction(0.3, 0.25, 0.75) == pytest.approx(0.225)  # cos 60° = 1/2
    assert drop_fraction(0.3, 0.75, 0.75) == 0.0
    assert drop_fraction(0.3, 1.2, 0.75) == 0.0


@given(
    initial=st.floats(0.0, 1.0, exclude_max=True),
    end=st.floats(0.01, 1.0),
    first=st.floats(0.0, 2.0),
    second=st.floats(0.0, 2.0),
)
def test_drop_fraction_falls_from_initial_to_zero(
    initial: float, end: float, first: float, second: float
) -> None:
    early, late = sorted((first, second))
    assert initial >= drop_fraction(initial, early, end) >= drop_fraction(initial, late, end) >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.0, 0.75), "initial"),
        ((0.3, -0.1, 0.75), "progress"),
        ((0.3, math.nan, 0.75), "progress"),
        ((0.3, 0.0, 0.0), "end"),
    ],
)
def test_drop_fraction_refuses(arguments: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drop_fraction(*arguments)
