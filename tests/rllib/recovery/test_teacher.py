"""Teachers: where they come from, whom they can teach, and how far outputs are apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchMultiCategorical,
    TorchSquashedGaussian,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from torch import Tensor

from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.recovery.distillation import attach, detach, load_teacher, softened_kl
from prune_search.rllib.running import unwrapped
from tests.rllib.recovery.teaching import (
    categorical_kl,
    divergence,
    gaussian_kl,
    numbers,
    off_policy,
    ppo,
    teacher_of,
)

pytestmark = pytest.mark.usefixtures("local_ray")


@given(numbers, numbers, st.floats(0.05, 20))
def test_softened_kl_is_a_divergence(ours: list[float], theirs: list[float], t: float) -> None:
    a, b = torch.tensor([ours]).double(), torch.tensor([theirs]).double()
    kinds: dict[Any, Tensor] = {
        TorchCategorical: categorical_kl(a / t, b / t),
        TorchDiagGaussian: gaussian_kl(a, b, t),
        TorchSquashedGaussian: gaussian_kl(a, b, t),
        TorchMultiCategorical.get_partial_dist_cls(input_lens=[2, 4]): (
            categorical_kl(a[:, :2] / t, b[:, :2] / t) + categorical_kl(a[:, 2:] / t, b[:, 2:] / t)
        ),
    }
    for kind, expected in kinds.items():
        found = softened_kl(kind.from_logits(a), kind.from_logits(b), t)
        assert found.shape == (1,)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
        assert float(found) > -1e-9
        same = softened_kl(kind.from_logits(a), kind.from_logits(a), t)
        assert float(same) == pytest.approx(0, abs=1e-9)


def test_squashing_does_not_change_the_divergence() -> None:
    """KL is the same after a map that both sides share: sampled against the closed form."""
    ours, theirs = torch.tensor([0.3, -0.5]).double(), torch.tensor([-0.2, -0.1]).double()
    one, other = (TorchSquashedGaussian.from_logits(x, low=-2.0, high=2.0) for x in (ours, theirs))
    torch.manual_seed(0)
    actions = one.sample(sample_shape=torch.Size([200_000]))
    sampled = (one.logp(actions) - other.logp(actions)).mean()
    assert float(softened_kl(one, other, 1.0)) == pytest.approx(float(sampled), rel=0.03)


def test_actions_that_are_masked_out_are_left_out() -> None:
    ours, theirs = torch.tensor([[0.5, -math.inf, 1.0]]), torch.tensor([[0.1, -math.inf, 2.0]])
    theirs.requires_grad_()
    kl = softened_kl(TorchCategorical(ours), TorchCategorical(theirs), 2.0)
    expected = categorical_kl(ours[:, ::2] / 2, theirs[:, ::2].detach() / 2)
    torch.testing.assert_close(kl.detach(), expected)


def test_distributions_of_different_kinds_are_refused() -> None:
    logits = torch.zeros(1, 4)
    gaussian, squashed = (
        kind.from_logits(logits) for kind in (TorchDiagGaussian, TorchSquashedGaussian)
    )
    for one, other in ((TorchCategorical(logits), gaussian), (gaussian, squashed)):
        with pytest.raises(ValueError, match=f"{type(one).__name__} and {type(other).__name__}"):
            softened_kl(one, other, 1.0)
    with pytest.raises(ValueError, match="TorchDeterministic"):
        fixed = TorchCategorical(logits).to_deterministic()
        softened_kl(fixed, fixed, 1.0)


def test_teachers_come_from_checkpoints(cartpole: Any, tmp_path: Path) -> None:
    module = unwrapped(cartpole.learner_group._learner)
    given = (module.action_space, module.observation_space)
    cartpole.save_to_path(tmp_path / "whole")
    module.save_to_path(tmp_path / "alone")
    for path in (tmp_path / "whole", tmp_path / "alone", tmp_path / "whole" / MODULE_PATH):
        teacher = load_teacher(path, *given)
        assert divergence(cartpole, teacher) == pytest.approx(0, abs=1e-7)
        attach(cartpole, path, weight=1.0, temperature=1.0)
        detach(cartpole)
    with pytest.raises(ValueError, match=r"its actions are Discrete\(2\), the student's Disc.*3"):
        load_teacher(tmp_path / "whole", spaces.Discrete(3), given[1])
    with pytest.raises(ValueError, match="its observations are"):
        load_teacher(tmp_path / "alone", given[0], spaces.Box(-1, 1, (7,)))
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        load_teacher(tmp_path / "nowhere", *given)
    with pytest.raises(ValueError, match=r"no folder .*other_policy"):
        load_teacher(tmp_path / "whole", *given, module_id="other_policy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not a readable checkpoint") as caught:
        load_teacher(tmp_path / "empty", *given)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_compared_is_refused_and_nothing_changes(cartpole: Any) -> None:
    teacher = teacher_of(cartpole)
    values = off_policy(DQNConfig(), "CartPole-v1")
    recurrent = ppo(model=DefaultModelConfig(use_lstm=True, lstm_cell_size=8))
    pendulum = ppo("Pendulum-v1")
    for other, message in (
        (values, "only the teacher is a network of Q-values"),
        (recurrent, "only the teacher is recurrent"),
        (pendulum, "its actions are Box"),
    ):
        with pytest.raises(ValueError, match=message):
            attach(cartpole, {DEFAULT_MODULE_ID: teacher_of(other)}, 1.0, 1.0)
        other.stop()
    for weight, temperature in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match=r"must be a finite number above 0"):
            attach(cartpole, {DEFAULT_MODULE_ID: teacher}, weight, temperature)
    with pytest.raises(
        ValueError, match=r"unknown modules .'nobody'.; there are .'default_policy'"
    ):
        attach(cartpole, {"nobody": teacher}, 1.0, 1.0)
    assert "compute_loss_for_module" not in vars(cartpole.learner_group._learner)
