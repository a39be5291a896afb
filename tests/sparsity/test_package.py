import doctest
import subprocess
import sys

import pytest
import torch

import prune_search.sparsity
from prune_search.sparsity import MaskSet, prune, size


def test_importing_needs_torch_alone() -> None:
    code = (
        "import sys, prune_search.sparsity\n"
        "heavy = {'ray', 'torch_pruning', 'gymnasium', 'mlflow', 'optuna'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_runs() -> None:
    result = doctest.testmod(prune_search.sparsity)
    assert result.attempted > 0 and result.failed == 0


def test_prune_leaves_biases_and_counts_exactly() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.Linear(20, 5))
    params: dict[str, torch.Tensor] = dict(model.named_parameters())
    masks = MaskSet()
    gradients = {name: torch.rand_like(param) for name, param in params.items()}
    for ratio, criterion in ((0.5, "saliency"), (0.9, "random")):
        prune(masks, params, ratio, criterion=criterion, allocation="erk", gradients=gradients)
        assert size(params).weight_sparsity == pytest.approx(ratio)
    assert set(masks.masks) == {"0.weight", "1.weight"}


def test_prune_at_random_can_be_repeated() -> None:
    def pruned() -> torch.Tensor:
        params = {"w": torch.ones(10, 10)}
        source = torch.Generator().manual_seed(1)
        prune(MaskSet(), params, 0.5, criterion="random", generator=source)
        return params["w"]

    assert torch.equal(pruned(), pruned())


def test_prune_needs_gradients_for_saliency() -> None:
    with pytest.raises(ValueError, match="'saliency' needs a gradient"):
        prune(MaskSet(), {"w": torch.ones(2, 2)}, 0.5, criterion="saliency")
