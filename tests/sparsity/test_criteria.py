import pytest
import torch

from prune_search.sparsity import CRITERIA, criterion

WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 0.0]], requires_grad=True)
GRADIENT = torch.tensor([[-1.0, 0.25], [2.0, 3.0]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("magnitude", [[1.0, 2.0], [0.5, 0.0]]),
        ("threshold", [[1.0, 2.0], [0.5, 0.0]]),
        ("gradient", [[1.0, 0.25], [2.0, 3.0]]),
        ("saliency", [[1.0, 0.5], [1.0, 0.0]]),
    ],
)
def test_scores(name: str, expected: list[list[float]]) -> None:
    score = criterion(name).score(WEIGHT, GRADIENT, generator())
    assert score.tolist() == expected
    assert not score.requires_grad


def test_random_scores_follow_the_generator() -> None:
    score = criterion("random").score
    assert torch.equal(score(WEIGHT, None, generator(1)), score(WEIGHT, None, generator(1)))
    assert not torch.equal(score(WEIGHT, None, generator(1)), score(WEIGHT, None, generator(2)))
    assert score(WEIGHT, None, generator()).shape == WEIGHT.shape


@pytest.mark.parametrize("name", CRITERIA)
def test_a_missing_gradient_is_an_error_where_it_is_needed(name: str) -> None:
    chosen = criterion(name)
    assert chosen.name == name
    if chosen.needs_gradient:
        with pytest.raises(ValueError, match=f"'{name}' needs a gradient"):
            chosen.score(WEIGHT, None, generator())
    else:
        assert chosen.score(WEIGHT, None, generator()).shape == WEIGHT.shape


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'size'; known: magnitude, threshold, random"):
        criterion("size")
