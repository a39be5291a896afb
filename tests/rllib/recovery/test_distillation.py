"""Distillation: the term is the formula, it reaches the policy alone, and leaves no trace."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchMultiCategorical,
    TorchSquashedGaussian,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.rllib.recovery import distillation
from prune_search.rllib.recovery.distillation import attach, detach, load_teacher, softened_kl
from prune_search.rllib.running import each_learner, unwrapped

pytestmark = pytest.mark.usefixtures("local_ray")

SMALL = DefaultModelConfig(fcnet_hiddens=[16], fcnet_activation="tanh", vf_share_layers=False)


class Steps(gym.Env[Any, Any]):
    """Ten steps of noise; the actions are the test's."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.observation_space = spaces.Box(-1, 1, (3,))
        self.action_space = config["actions"]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._left = 10
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self._left -= 1
        return self.observation_space.sample(), 0.0, self._left == 0, False, {}


def ppo(
    env: Any = "CartPole-v1",
    model: Any = SMALL,
    lr: float = 0.003,
    learners: int = 0,
    **env_config: Any,
) -> Any:
    config = (
        PPOConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .learners(num_learners=learners)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2, lr=lr)
        .rl_module(model_config=model)
        .debugging(seed=0, log_level="ERROR")
    )
    return config.build_algo()


def off_policy(config: Any, env: Any, **env_config: Any) -> Any:
    return (
        config.environment(env, env_config=env_config)
        .env_runners(num_env_runners=0, rollout_fragment_length=8)
        .training(
            num_steps_sampled_before_learning_starts=16,
            train_batch_size_per_learner=16,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
        )
        .rl_module(model_config=SMALL)
        .reporting(min_sample_timesteps_per_iteration=16, min_time_s_per_iteration=0)
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )


@pytest.fixture(scope="module")
def cartpole() -> Iterator[Any]:
    built = ppo()
    yield built
    built.stop()


def teacher_of(algorithm: Any, change: float = 0.5) -> Any:
    """A network like the algorithm's, with other weights."""
    teacher = copy.deepcopy(unwrapped(algorithm.learner_group._learner))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(change * torch.randn(weight.shape, generator=generator))
    return teacher


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


def categorical_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    p, q = torch.softmax(p_logits, -1), torch.softmax(q_logits, -1)
    return (p * (p.log() - q.log())).sum(-1)


def gaussian_kl(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    nearer = ours + (theirs - ours) / temperature
    (m1, s1), (m2, s2) = (
        (mean, log_std.exp()) for mean, log_std in (ours.chunk(2, dim=-1), nearer.chunk(2, dim=-1))
    )
    return (torch.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(-1)


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


numbers = st.lists(st.floats(-2, 2), min_size=6, max_size=6)


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


def one_batch(algorithm: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    space = unwrapped(algorithm.learner_group._learner).observation_space
    return {Columns.OBS: torch.randn(32, *space.shape, generator=generator)}


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


def visited() -> dict[str, Tensor]:
    """What random actions see of CartPole."""
    env = gym.make("CartPole-v1")
    env.action_space.seed(0)
    seen = [env.reset(seed=0)[0]]
    while len(seen) < 256:
        observation, _, terminated, _, _ = env.step(env.action_space.sample())
        seen.append(env.reset()[0] if terminated else observation)
    return {Columns.OBS: torch.as_tensor(np.stack(seen))}


def divergence(algorithm: Any, teacher: Any) -> float:
    module = unwrapped(algorithm.learner_group._learner)
    with torch.no_grad():
        ours, theirs = (
            each.forward_inference(visited())[Columns.ACTION_DIST_INPUTS]
            for each in (teacher, module)
        )
        return float(categorical_kl(ours, theirs).mean())


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
