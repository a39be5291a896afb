"""Distillation: the term is the formula, it reaches the policy alone, and leaves no trace."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchSquashedGaussian,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from prune_search.rllib.recovery import distillation
from prune_search.rllib.recovery.distillation import attach, detach, softened_kl
from prune_search.rllib.running import each_learner, unwrapped
from tests.rllib.recovery.teaching import (
    SMALL,
    Steps,
    categorical_kl,
    divergence,
    gaussian_kl,
    numbers,
    off_policy,
    one_batch,
    ppo,
    teacher_of,
)

pytestmark = pytest.mark.usefixtures("local_ray")


class Record:
    """Keeps each minibatch that a learner computes a loss from, and what came of it."""

    def __init__(self, algorithm: Any) -> None:
        self.learner = algorithm.learner_group._learner
        self.calls: list[dict[str, Any]] = []
        own, losses = self.learner.compute_losses, getattr(self.learner, "_temp_losses", {})

        def compute_losses(*, fwd_out: Any, batch: Any) -> Any:
            loss = own(fwd_out=fwd_out, batch=batch)[DEFAULT_MODULE_ID]
            policy = losses.get((DEFAULT_MODULE_ID, "policy_loss"))
            module = self.learner.module[DEFAULT_MODULE_ID]
            inputs, out = batch[DEFAULT_MODULE_ID], fwd_out[DEFAULT_MODULE_ID]
            plain = type(self.learner).compute_loss_for_module(
                self.learner,
                module_id=DEFAULT_MODULE_ID,
                config=self.learner.config,
                batch=inputs,
                fwd_out=out,
            )
            self.calls.append(
                {
                    "obs": inputs[Columns.OBS],
                    "mask": inputs.get(Columns.LOSS_MASK),
                    "out": {k: v.detach() for k, v in out.items() if isinstance(v, Tensor)},
                    "added": float(loss - plain),
                    "policy added": None
                    if policy is None
                    else float(policy - losses[DEFAULT_MODULE_ID, "policy_loss"]),
                    "kl": float(self.learner.metrics.peek((DEFAULT_MODULE_ID, "distillation_kl"))),
                    "training": module.training,
                }
            )
            if policy is not None:
                losses[DEFAULT_MODULE_ID, "policy_loss"] = policy
            return {DEFAULT_MODULE_ID: loss}

        self.learner.compute_losses = compute_losses


def check_calls(record: Record, teacher: Any, rows: Any, factor: float) -> None:
    """Each minibatch's term is the formula's, on the rows that count."""
    assert record.calls
    for call in record.calls:
        with torch.no_grad():
            kl = rows(teacher, call)
        if call["mask"] is not None:
            kl = kl[call["mask"].bool()]
        assert call["kl"] == pytest.approx(float(kl.mean()), rel=1e-4)
        assert call["added"] == pytest.approx(factor * float(kl.mean()), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("model", "temperature"),
    [(SMALL, 3.0), (DefaultModelConfig(use_lstm=True, lstm_cell_size=8, max_seq_len=5), 1.0)],
    ids=["mlp", "lstm"],
)
def test_categorical_term_of_ppo(model: Any, temperature: float) -> None:
    built = ppo(model=model)
    teacher = teacher_of(built)
    attach(built, {DEFAULT_MODULE_ID: teacher}, weight=0.7, temperature=temperature)
    record = Record(built)
    result = built.train()

    def rows(teacher: Any, call: dict[str, Any]) -> Tensor:
        inputs = {Columns.OBS: call["obs"]}
        if teacher.is_stateful():
            zeros = torch.zeros(len(call["obs"]), *teacher.get_initial_state()["h"].shape)
            inputs[Columns.STATE_IN] = {"h": zeros, "c": zeros}
        wanted = teacher.forward_inference(inputs)[Columns.ACTION_DIST_INPUTS]
        found = call["out"][Columns.ACTION_DIST_INPUTS]
        return categorical_kl(wanted / temperature, found / temperature)

    check_calls(record, teacher, rows, factor=0.7 * temperature**2)
    assert any(not bool(call["mask"].all()) for call in record.calls)  # rows that don't count
    logged = result["learners"][DEFAULT_MODULE_ID]["distillation_kl"]
    assert float(logged) == pytest.approx(record.calls[-1]["kl"])
    built.stop()


@pytest.mark.parametrize(
    "actions",
    [spaces.MultiDiscrete([2, 3]), spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-1, 1, (2,)))],
    ids=["multi-discrete", "dict"],
)
def test_components_add_up(actions: Any, tmp_path: Path) -> None:
    built = ppo(Steps, actions=actions)
    teacher_of(built).save_to_path(tmp_path)
    teacher = RLModule.from_checkpoint(tmp_path)  # its distribution is of a class of its own
    attach(built, {DEFAULT_MODULE_ID: teacher}, weight=2.0, temperature=1.0)
    record = Record(built)
    built.train()

    def rows(teacher: Any, call: dict[str, Any]) -> Tensor:
        wanted = teacher.forward_inference({Columns.OBS: call["obs"]})[Columns.ACTION_DIST_INPUTS]
        found = call["out"][Columns.ACTION_DIST_INPUTS]
        first = categorical_kl(wanted[:, :2], found[:, :2])
        if isinstance(actions, spaces.Dict):
            return first + gaussian_kl(wanted[:, 2:], found[:, 2:], 1.0)
        return first + categorical_kl(wanted[:, 2:], found[:, 2:])

    check_calls(record, teacher, rows, factor=2.0)
    built.stop()


def test_gaussian_term_of_ppo() -> None:
    built = ppo("Pendulum-v1")
    teacher = teacher_of(built, change=0.2)
    attach(built, {DEFAULT_MODULE_ID: teacher}, weight=0.5, temperature=2.0)
    record = Record(built)
    built.train()

    def rows(teacher: Any, call: dict[str, Any]) -> Tensor:
        wanted = teacher.forward_inference({Columns.OBS: call["obs"]})[Columns.ACTION_DIST_INPUTS]
        return gaussian_kl(wanted, call["out"][Columns.ACTION_DIST_INPUTS], 2.0)

    check_calls(record, teacher, rows, factor=0.5 * 2.0**2)
    built.stop()


@pytest.mark.parametrize("discrete", [False, True])
def test_term_of_sac_reaches_the_policys_optimizer(discrete: bool) -> None:
    config = SACConfig()
    built = (
        off_policy(config, Steps, actions=spaces.Discrete(3))
        if discrete
        else off_policy(config, "Pendulum-v1")
    )
    teacher = teacher_of(built, change=0.2)
    attach(built, {DEFAULT_MODULE_ID: teacher}, weight=3.0, temperature=1.5)
    record = Record(built)
    while not record.calls:
        built.train()

    def rows(teacher: Any, call: dict[str, Any]) -> Tensor:
        wanted = teacher.forward_inference({Columns.OBS: call["obs"]})[Columns.ACTION_DIST_INPUTS]
        if discrete:
            return categorical_kl(wanted / 1.5, call["out"]["action_log_probs"] / 1.5)
        return gaussian_kl(wanted, call["out"][Columns.ACTION_DIST_INPUTS], 1.5)

    check_calls(record, teacher, rows, factor=3.0 * 1.5**2)
    for call in record.calls:
        assert call["policy added"] == pytest.approx(call["added"], rel=1e-3, abs=1e-4)
    built.stop()


@pytest.mark.parametrize("atoms", [1, 5])
def test_values_of_dqn_are_compared_as_policies(atoms: int) -> None:
    built = off_policy(DQNConfig().training(num_atoms=atoms), "CartPole-v1")
    teacher = teacher_of(built)
    attach(built, {DEFAULT_MODULE_ID: teacher}, weight=0.3, temperature=0.1)
    record = Record(built)
    while not record.calls:
        built.train()

    def rows(teacher: Any, call: dict[str, Any]) -> Tensor:
        wanted = teacher.compute_q_values({Columns.OBS: call["obs"]})["qf_preds"]
        return categorical_kl(wanted / 0.1, call["out"]["qf_preds"] / 0.1)

    check_calls(record, teacher, rows, factor=0.3)
    built.stop()


def gradient(algorithm: Any, teacher: Any, temperature: float) -> dict[str, Tensor]:
    """Of the term alone."""
    module = unwrapped(algorithm.learner_group._learner)
    term = distillation._Term(copy.deepcopy(teacher), 1.0, temperature, "cpu")
    batch = one_batch(algorithm)
    batch |= {Columns.LOSS_MASK: torch.ones(32, dtype=torch.bool)}
    module.zero_grad()
    (term.factor * term.kl(batch, module.forward_train(batch))).backward()
    found = {
        name: weight.grad.clone()
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }
    module.zero_grad()
    return found


def test_a_student_that_equals_its_teacher_is_left_as_it_is(cartpole: Any) -> None:
    same = unwrapped(cartpole.learner_group._learner)
    for temperature in (0.5, 1.0, 4.0):
        zero = gradient(cartpole, same, temperature)
        other = gradient(cartpole, teacher_of(cartpole), temperature)
        largest = {name: float(value.abs().max()) for name, value in other.items()}
        assert {name.split(".")[0] for name in largest} == {"encoder", "pi"}  # no critic
        assert not any("critic" in name for name in largest)
        for name, value in zero.items():
            assert float(value.abs().max()) < 1e-5 * largest[name]


OUTPUTS = {
    TorchCategorical: {"logits": slice(0, 6)},
    TorchDiagGaussian: {"mean": slice(0, 3), "log std": slice(3, 6)},
    TorchSquashedGaussian: {"mean": slice(0, 3), "log std": slice(3, 6)},
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_gradients_keep_their_size_when_the_temperature_changes(kind: Any) -> None:
    """Of all that a network puts out; without the factor T² they would fall with 1/T²."""
    torch.manual_seed(0)
    ours, moved = torch.randn(64, 6).double() / 2, torch.randn(64, 6).double() / 4
    sizes: dict[str, list[float]] = {name: [] for name in OUTPUTS[kind]}
    for temperature in (1.0, 2.0, 4.0, 16.0, 256.0):
        theirs = (ours + moved).requires_grad_()
        kl = softened_kl(kind.from_logits(ours), kind.from_logits(theirs), temperature)
        (temperature**2 * kl.mean()).backward()
        assert theirs.grad is not None
        for name, part in OUTPUTS[kind].items():
            sizes[name].append(float(theirs.grad[:, part].norm()))
    for name, found in sizes.items():
        assert max(found) < 1.8 * min(found), name
        assert found[-1] == pytest.approx(found[-2], rel=0.1)  # where they end


@settings(max_examples=30)
@given(numbers, numbers)
def test_high_temperatures_compare_outputs_by_their_squares(
    ours: list[float], theirs: list[float]
) -> None:
    a, b = torch.tensor([ours]).double(), torch.tensor([theirs]).double()
    logits = (b - b.mean()) - (a - a.mean())
    mean, log_std = (b - a).chunk(2, dim=-1)
    variance = (2 * a[:, 3:]).exp()
    temperature = 1e4
    for kind, expected in (
        (TorchCategorical, logits.square().mean(-1) / 2),
        (TorchDiagGaussian, (mean.square() / variance / 2 + log_std.square()).sum(-1)),
    ):
        found = softened_kl(kind.from_logits(a), kind.from_logits(b), temperature)
        torch.testing.assert_close(temperature**2 * found, expected, rtol=5e-3, atol=1e-5)


@pytest.mark.slow
def test_a_student_approaches_its_teacher() -> None:
    after = {}
    for weight in (0.0, 20.0):
        built = ppo(lr=0.01)
        teacher = teacher_of(built, change=2.0)
        before = divergence(built, teacher)
        if weight:
            attach(built, {DEFAULT_MODULE_ID: teacher}, weight=weight, temperature=1.0)
        for _ in range(8):
            built.train()
        after[weight] = divergence(built, teacher)
        built.stop()
    assert after[20.0] < 0.2 * before
    assert after[20.0] < 0.2 * after[0.0]


def test_checkpoints_know_nothing_of_a_teacher(tmp_path: Path) -> None:
    built = ppo()
    attach(built, {DEFAULT_MODULE_ID: teacher_of(built)}, weight=1.0, temperature=1.0)
    assert "distillation_kl" in built.train()["learners"][DEFAULT_MODULE_ID]
    built.save_to_path(tmp_path / "checkpoint")
    restored = Algorithm.from_checkpoint(tmp_path / "checkpoint")
    ours, theirs = (each.get_module().get_state() for each in (built, restored))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    learner = restored.learner_group._learner
    assert "compute_loss_for_module" not in vars(learner)
    restored.train()
    restored.stop()
    # And taken off, the learner is as it was.
    attach(built, {DEFAULT_MODULE_ID: teacher_of(built)}, weight=1.0, temperature=1.0)
    detach(built)
    assert "compute_loss_for_module" not in vars(built.learner_group._learner)
    detach(built)
    built.stop()


def test_the_teacher_itself_stays_as_it_is(cartpole: Any) -> None:
    teacher = teacher_of(cartpole)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    attach(cartpole, {DEFAULT_MODULE_ID: teacher}, weight=5.0, temperature=1.0)
    attach(cartpole, {DEFAULT_MODULE_ID: teacher}, weight=1.0, temperature=1.0)  # not on top
    assert not isinstance(
        cartpole.learner_group._learner.compute_loss_for_module._own, distillation._DistilledLoss
    )
    cartpole.train()
    detach(cartpole)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(weight.requires_grad for weight in teacher.parameters())  # learners have copies


@pytest.mark.slow
def test_two_learners_stay_equal(tmp_path: Path) -> None:
    source = ppo()
    source.save_to_path(tmp_path / "teacher")
    source.stop()
    built = ppo(learners=2)

    def spread(learner: Any) -> None:
        torch.manual_seed(3)
        with torch.no_grad():
            for weight in unwrapped(learner).parameters():
                weight.add_(0.3 * torch.randn(weight.shape))

    each_learner(built, spread)
    attach(built, tmp_path / "teacher", weight=20.0, temperature=1.0)
    values = [built.train()["learners"][DEFAULT_MODULE_ID]["distillation_kl"] for _ in range(5)]
    assert float(values[-1]) < 0.3 * float(values[0])
    first, second = each_learner(
        built, lambda held: {n: w.detach().numpy() for n, w in unwrapped(held).named_parameters()}
    )
    assert all((first[name] == second[name]).all() for name in first)
    detach(built)
    assert each_learner(built, lambda held: "compute_loss_for_module" in vars(held)) == [False] * 2
    built.stop()
