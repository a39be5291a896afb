"""Layouts: where what is left of a tensor lies in the dense one."""

import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_search.sparsity.structure.resizing import Layout
from tests.sparsity.structure.networks import index, ramp

DENSE = {"weight": (4, 3, 2), "bias": (4,), "scale": ()}


SMALLER = Layout(DENSE, {"weight": (index(0, 2, 3), None, index(1)), "bias": (index(0, 2, 3),)})


def test_shapes_of_the_smaller_network() -> None:
    assert SMALLER.shapes == {"weight": (3, 3, 1), "bias": (3,), "scale": ()}
    assert Layout(DENSE).shapes == DENSE


def test_the_full_layout_keeps_everything() -> None:
    params = {name: ramp(shape) for name, shape in DENSE.items()}
    full = Layout.full(params)
    assert full.shapes == DENSE
    for name, param in params.items():
        assert torch.equal(full.take(name, param), param)
        assert full.take(name, param) is not param


def test_take_picks_kept_entries_of_any_dtype() -> None:
    weight = ramp(DENSE["weight"])
    assert torch.equal(SMALLER.take("weight", weight), weight[[0, 2, 3]][:, :, [1]])
    assert torch.equal(
        SMALLER.take("bias", torch.tensor([True, False, False, True])),
        torch.tensor([True, False, True]),
    )


def test_put_fills_what_is_not_kept() -> None:
    small = torch.tensor([7.0, 8.0, 9.0])
    assert SMALLER.put("bias", small).tolist() == [7, 0, 8, 9]
    assert SMALLER.put("bias", small, 5).tolist() == [7, 5, 8, 9]
    assert SMALLER.put("bias", small, torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [7, 2, 8, 9]
    assert SMALLER.put("bias", small > 7.5, False).tolist() == [False, False, True, True]
    assert SMALLER.put("scale", torch.tensor(3.0)).item() == 3


@st.composite
def layouts(draw: st.DrawFn, dense: dict[str, tuple[int, ...]]) -> Layout:
    def kept(size: int) -> Any:
        if draw(st.booleans()):
            return None
        return torch.tensor(sorted(draw(st.sets(st.integers(0, size - 1), min_size=1))))

    return Layout(dense, {name: tuple(map(kept, shape)) for name, shape in dense.items()})


@given(layouts({"weight": (4, 3, 5), "bias": (6,)}), st.data())
def test_put_and_take_are_inverse_and_layouts_compose(first: Layout, data: st.DataObject) -> None:
    second = data.draw(layouts(first.shapes))
    both = first.then(second)
    assert both.dense == first.dense
    assert both.shapes == second.shapes
    for name, shape in first.dense.items():
        dense = ramp(shape)
        small = first.take(name, dense)
        assert small.shape == first.shapes[name]
        assert torch.equal(first.take(name, first.put(name, small)), small)
        assert torch.equal(first.put(name, small, dense), dense)
        assert first.put(name, small).sum() == small.sum()
        assert torch.equal(both.take(name, dense), second.take(name, small))
        smallest = second.take(name, small)
        laid = first.put(name, second.put(name, smallest))
        assert torch.equal(both.put(name, smallest), laid)


def test_layouts_survive_a_file() -> None:
    file = io.BytesIO()
    torch.save(SMALLER.state_dict(), file)
    file.seek(0)
    loaded = Layout.from_state_dict(torch.load(file, weights_only=True))
    assert loaded.dense == SMALLER.dense
    weight = ramp(DENSE["weight"])
    assert torch.equal(loaded.take("weight", weight), SMALLER.take("weight", weight))


def test_what_does_not_fit_a_layout() -> None:
    with pytest.raises(ValueError, match="no parameter 'other'"):
        SMALLER.take("other", torch.zeros(4))
    with pytest.raises(ValueError, match=r"'bias' must have shape \(4,\), not \(3,\)"):
        SMALLER.take("bias", torch.zeros(3))
    with pytest.raises(ValueError, match=r"'bias' must have shape \(3,\), not \(4,\)"):
        SMALLER.put("bias", torch.zeros(4))
    with pytest.raises(ValueError, match=r"'bias' must have shape \(4,\), not \(3,\)"):
        SMALLER.put("bias", torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="'weight' has 3 dimensions, kept indices 1"):
        Layout(DENSE, {"weight": (None,)})
    with pytest.raises(ValueError, match="no parameter 'other'"):
        Layout(DENSE, {"other": (None,)})
    with pytest.raises(ValueError, match="the second layout's dense shapes"):
        SMALLER.then(SMALLER)
