import math

import pytest
import torch
from torch import Tensor

from prune_search.sparsity import CRITERIA, Evidence, criterion

WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 0.0]], requires_grad=True)
EVIDENCE = Evidence(
    WEIGHT,
    gradient=torch.tensor([[-1.0, 0.25], [2.0, 3.0]]),
    square=torch.tensor([[2.0, 0.25], [4.0, 9.0]]),
    movement=torch.tensor([[1.0, -0.5], [0.0, 3.0]]),
    activation=torch.tensor([0.2, 0.6]),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("magnitude", [[1.0, 2.0], [0.5, 0.0]]),
        ("threshold", [[1.0, 2.0], [0.5, 0.0]]),
        ("gradient", [[1.0, 0.25], [2.0, 3.0]]),
        ("saliency", [[1.0, 0.5], [1.0, 0.0]]),
        ("movement", [[1.0, -0.5], [0.0, 3.0]]),
        # half of h·w²: 2·1/2, 0.25·4/2, 4·0.25/2, 9·0/2
        ("fisher", [[1.0, 0.5], [0.5, 0.0]]),
        ("activation", [0.2, 0.6]),
        ("dormant", [0.5, 1.5]),  # over their mean, 0.4
        ("l1_norm", [3.0, 0.5]),
        ("l2_norm", [math.sqrt(5.0), 0.5]),
    ],
)
def test_scores(name: str, expected: list[float] | list[list[float]]) -> None:
    score = criterion(name).score(EVIDENCE, generator())
    assert torch.allclose(score, torch.tensor(expected))
    assert not score.requires_grad


def test_geometric_median_adds_up_distances() -> None:
    # (0, 0), (3, 4) and (6, 8) lie on a line, 5 apart; (3, 0) is beside it.
    weight = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [3.0, 0.0]])
    score = criterion("geometric_median").score(Evidence(weight), generator())
    last = math.sqrt(9 + 64)
    assert score.tolist() == pytest.approx([5 + 10 + 3, 5 + 5 + 4, 10 + 5 + last, 3 + 4 + last])


def test_geometric_median_tells_close_units_apart() -> None:
    weight = torch.full((40, 8), 100.0)
    weight[0, 0] += 0.001
    score = criterion("geometric_median").score(Evidence(weight), generator())
    assert score[0].item() == pytest.approx(39 * 0.001, rel=0.05)
    assert score[1].item() == pytest.approx(0.001, rel=0.05)


def test_the_geometric_median_of_equal_directions_is_not_the_smallest_norm() -> None:
    weight = torch.tensor([[1.0], [2.0], [3.0]])
    score = criterion("geometric_median").score(Evidence(weight), generator())
    assert int(score.argmin()) == 1
    assert int(criterion("l2_norm").score(Evidence(weight), generator()).argmin()) == 0


def test_units_of_convolutions_are_filters() -> None:
    weight = torch.arange(-12.0, 12.0).view(2, 3, 2, 2)
    assert criterion("l1_norm").score(Evidence(weight), generator()).tolist() == [78.0, 66.0]
    assert criterion("geometric_median").score(Evidence(weight), generator()).tolist() == (
        pytest.approx([12 * math.sqrt(12)] * 2)
    )


def test_a_silent_layer_is_dormant_throughout() -> None:
    silent = Evidence(torch.ones(3, 2), activation=torch.zeros(3))
    assert criterion("dormant").score(silent, generator()).tolist() == [0.0, 0.0, 0.0]


def test_dormant_units_are_compared_with_their_own_layer() -> None:
    score = criterion("dormant").score
    loud = Evidence(torch.ones(2, 2), activation=torch.tensor([2.0, 6.0]))
    faint = Evidence(torch.ones(2, 2), activation=torch.tensor([0.02, 0.06]))
    assert torch.allclose(score(loud, generator()), score(faint, generator()))


def test_movement_is_what_training_gives() -> None:
    """-Σ w·g grows for a weight that is driven away from zero, and falls for one driven to it."""
    weight = torch.tensor([[0.1, 1.0]], requires_grad=True)
    aim = torch.tensor([[1.0, 0.1]])
    movement = torch.zeros_like(weight)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        (weight - aim).square().sum().backward()
        assert weight.grad is not None
        movement -= weight.detach() * weight.grad
        optimizer.step()
    score = criterion("movement").score(Evidence(weight, movement=movement), generator())
    assert score[0, 0] > 0 > score[0, 1]


def test_random_scores_follow_the_generator() -> None:
    def score(seed: int) -> Tensor:
        return criterion("random").score(EVIDENCE, generator(seed))

    assert torch.equal(score(1), score(1))
    assert not torch.equal(score(1), score(2))
    assert score(0).shape == WEIGHT.shape


@pytest.mark.parametrize("name", CRITERIA)
def test_a_missing_statistic_is_an_error_where_it_is_needed(name: str) -> None:
    chosen = criterion(name)
    assert chosen.name == name
    shape = WEIGHT.shape[:1] if chosen.per_unit else WEIGHT.shape
    if not chosen.needs:
        assert chosen.score(Evidence(WEIGHT), generator()).shape == shape
        return
    (needed,) = chosen.needs
    with pytest.raises(ValueError, match=f"'{name}' needs the statistic '{needed}', which is miss"):
        chosen.score(Evidence(WEIGHT), generator())
    only = Evidence(WEIGHT, **{needed: getattr(EVIDENCE, needed)})
    assert chosen.score(only, generator()).shape == shape
    wrong = Evidence(WEIGHT, **{needed: torch.ones(5)})
    with pytest.raises(ValueError, match=f"'{name}' needs the statistic '{needed}' in the shape"):
        chosen.score(wrong, generator())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'size'; known are: magnitude, threshold, random"):
        criterion("size")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CRITERIA)
def test_scores_of_half_precision_are_those_of_float32(name: str, dtype: torch.dtype) -> None:
    """Squares of small gradients vanish in half precision, sums of large weights overflow."""
    torch.manual_seed(0)
    weight = 200 * torch.randn(4, 512)
    found = {
        "gradient": 1e-3 * torch.randn(4, 512),
        "square": 1e-5 * torch.rand(4, 512),
        "movement": torch.randn(4, 512),
        "activation": torch.rand(4),
    }
    half = Evidence(weight.to(dtype), **{key: value.to(dtype) for key, value in found.items()})
    score = criterion(name).score(half, generator())
    wide = Evidence(weight.to(dtype).float(), **{k: v.to(dtype).float() for k, v in found.items()})
    assert score.dtype == torch.float32
    assert bool(score.isfinite().all())
    assert torch.equal(score, criterion(name).score(wide, generator()))
