import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prune_search.sparsity import select

PATTERNS = {"2:4": (2, 4), "1:4": (1, 4)}
pattern = st.sampled_from(sorted(PATTERNS))
ratio = st.floats(0.0, 0.999)


def groups(weight: Tensor, m: int = 4) -> Tensor:
    """Every m consecutive inputs, written out by hand: shape (groups, m)."""
    found = [
        weight[:, start : start + m].transpose(1, -1).reshape(-1, m)
        for start in range(0, weight.shape[1], m)
    ]
    return torch.cat(found)


@st.composite
def scored(draw: st.DrawFn) -> dict[str, Tensor]:
    """Scores of a few layers, linear or convolutional; with many ties in some examples."""
    source = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    shapes = draw(
        st.lists(
            st.tuples(
                st.integers(1, 6),
                st.sampled_from([4, 8, 12]),
                st.sampled_from([(), (1, 1), (2, 3)]),
            ),
            min_size=1,
            max_size=3,
        )
    )
    found = {
        str(number): torch.randn(outputs, inputs, *kernel, generator=source)
        for number, (outputs, inputs, kernel) in enumerate(shapes)
    }
    return {name: value.round() for name, value in found.items()} if draw(st.booleans()) else found


def prune(
    granularity: str, scores: dict[str, Tensor], masks: dict[str, Tensor], aim: float
) -> dict[str, Tensor]:
    return select(granularity, scores, list(scores), [], scores, masks, None, aim)


@settings(max_examples=150)
@given(scored(), pattern, ratio, ratio)
def test_groups_are_whole_or_n_of_m_and_counts_exact(
    scores: dict[str, Tensor], granularity: str, one: float, other: float
) -> None:
    n, m = PATTERNS[granularity]
    total = sum(score.numel() for score in scores.values()) // m
    masks: dict[str, Tensor] = {}
    for aim in sorted((one, other)):
        new = prune(granularity, scores, masks, aim)
        kept = torch.cat([groups(new[name]).sum(1) for name in scores])
        assert set(kept.tolist()) <= {n, m}
        assert int((kept == n).sum()) == min(total, round(aim / (1 - n / m) * total))
        assert all(new[name].shape == scores[name].shape for name in scores)
        assert not any((new[name] & ~mask).any() for name, mask in masks.items())
        masks = new


@settings(max_examples=100)
@given(scored(), pattern)
def test_the_highest_scores_of_each_group_stay(scores: dict[str, Tensor], granularity: str) -> None:
    n, _ = PATTERNS[granularity]
    masks = prune(granularity, scores, {}, 0.99)
    for name, score in scores.items():
        kept, values = groups(masks[name]), groups(score)
        best = values.sort(dim=1, descending=True).values[:, :n]
        assert torch.equal(values[kept].view(-1, n).sort(1, descending=True).values, best)


@settings(max_examples=100)
@given(scored(), pattern, ratio)
def test_groups_that_lose_least_go_first(
    scores: dict[str, Tensor], granularity: str, aim: float
) -> None:
    n, m = PATTERNS[granularity]
    masks = prune(granularity, scores, {}, aim)
    values = torch.cat([groups(score) for score in scores.values()])
    done = torch.cat([groups(masks[name]) for name in scores]).sum(1) == n
    losses = values.double().sort(dim=1).values[:, : m - n].sum(1)
    if done.any() and not done.all():
        assert losses[done].max() <= losses[~done].min() + 1e-9


def test_by_hand() -> None:
    weight = {"w": torch.tensor([[1.0, 4.0, 3.0, 2.0, 9.0, 8.0, 0.1, 0.2]])}
    assert prune("2:4", weight, {}, 0.25)["w"].tolist() == [
        [True, True, True, True, True, True, False, False]  # loses 0.3, the other group 3
    ]
    assert prune("2:4", weight, {}, 0.5)["w"].tolist() == [
        [False, True, True, False, True, True, False, False]
    ]
    assert prune("1:4", weight, {}, 0.9)["w"].tolist() == [
        [False, True, False, False, True, False, False, False]
    ]


def test_of_equal_scores_and_groups_the_first_go_first() -> None:
    weight = {"a": torch.ones(1, 8), "b": torch.ones(1, 4)}
    masks = prune("2:4", weight, {}, 1 / 3)
    assert masks["a"].tolist() == [[False, False, True, True] * 2]
    assert masks["b"].all()


def test_convolutions_are_grouped_by_input_channels_at_each_position() -> None:
    weight = torch.zeros(1, 4, 1, 2)
    weight[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight[0, :, 0, 1] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    mask = prune("2:4", {"w": weight}, {}, 0.5)["w"]
    assert mask[0, :, 0, 0].tolist() == [False, False, True, True]
    assert mask[0, :, 0, 1].tolist() == [True, True, False, False]


def test_masks_of_other_patterns_only_shrink() -> None:
    weight = {"w": torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 9.0, 9.0, 9.0]])}
    old = torch.tensor(
        [[True, False, False, False], [True, False, True, True], [True, True, True, True]]
    )
    # The first row counts as done, the second loses one more, and the third is next.
    once = prune("2:4", weight, {"w": old}, 1 / 3)["w"]
    assert once.tolist() == [[True, False, False, False], [False, False, True, True], [True] * 4]
    assert prune("2:4", weight, {"w": once}, 0.5)["w"][2].sum() == 2


def test_2_4_goes_on_to_1_4() -> None:
    weight = {"w": torch.randn(4, 8)}
    first = prune("2:4", weight, {}, 0.5)
    second = prune("1:4", weight, first, 0.75)
    assert not (second["w"] & ~first["w"]).any()
    assert (groups(second["w"]).sum(1) == 1).all()


def test_inputs_that_do_not_divide_are_an_error() -> None:
    weight = {"fits": torch.ones(2, 8), "body.weight": torch.ones(2, 6)}
    message = r"'2:4' needs inputs in groups of 4, and 'body\.weight' has 6 inputs"
    with pytest.raises(ValueError, match=message):
        prune("2:4", weight, {}, 0.5)


def test_an_allocation_is_an_error() -> None:
    weight = {"w": torch.ones(2, 8)}
    with pytest.raises(ValueError, match="'erk' does not go with granularity '2:4'"):
        select("2:4", weight, ["w"], [], weight, {}, "erk", 0.5)
