"""Teachers for distillation: where they come from, and what they have to share with a student."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tree  # type: ignore[import-untyped]  # dm-tree, which RLlib requires
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchMultiCategorical,
    TorchMultiDistribution,
    TorchSquashedGaussian,
)
from ray.rllib.core.rl_module.apis import QNetAPI, SelfSupervisedLossAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from prune_search.errors import from_here, one_line
from prune_search.rllib.configuration.algorithms import MODULE_PATH


def load_teacher(
    path: Path,
    action_space: gym.Space,
    observation_space: gym.Space,
    module_id: str = DEFAULT_MODULE_ID,
) -> RLModule:
    """The dense policy in a checkpoint, for `attach`.

    RLlib's checkpoints are pickles: reading one runs code of whoever wrote it.

    Args:
        path: folder of a checkpoint of an RLlib algorithm, or of one RLModule.
        action_space: what the student acts in.
        observation_space: what the student's network sees.
        module_id: which network of an algorithm's checkpoint.

    Raises:
        ValueError: no readable checkpoint, or one of other spaces.
    """
    path = path.expanduser()
    whole = (path / MODULE_PATH.parts[0]).is_dir()
    source = path / MODULE_PATH.parent / module_id if whole else path
    if not source.is_dir():
        raise ValueError(f"teacher: no folder {from_here(source)!r}")
    try:
        # RLlib resolves addresses of storage, which relative paths are not.
        module = RLModule.from_checkpoint(source.resolve())
    except Exception as error:
        raise ValueError(
            f"teacher: {from_here(path)!r} is not a readable checkpoint of an RLlib algorithm or"
            f" RLModule: {one_line(error)}"
        ) from None
    if not isinstance(module, torch.nn.Module):
        raise ValueError(
            f"teacher: {from_here(path)!r} holds a {type(module).__name__}, not a network"
        )
    _check_spaces(module, action_space, observation_space)
    return module


def softened_kl(teacher: Any, student: Any, temperature: float) -> Tensor:
    """KL(teacher || student) of action distributions that are softened, per row, in nats.

    Categorical: both are softmax(logits / T) (Hinton, Vinyals & Dean 2015, equation 1). Gaussian,
    squashed or not: the student's mean and log standard deviation come closer to the teacher's, by
    1/T of their distance,

        mean = mean_t + (mean_s - mean_t) / T,  log std = log std_t + (log std_s - log std_t) / T.

    Either way T² times the divergence is KL at T = 1, and half a squared distance of what the
    networks put out, in the Fisher metric, as T grows: of logits, around the uniform distribution
    (Hinton et al., section 2.1); of means / std_t and of log deviations (twice), around the
    teacher. So its gradients keep their size, for all that is put out, and what makes KL steep,
    actions or deviations that the student takes for impossible, counts less. Widening both
    Gaussians, as softmax(logits / T) does with its two, would not do: the part of KL that compares
    deviations does not change when both are widened, so that its gradients would grow with T².

    The divergence of squashed Gaussians is that of the Gaussians beneath, since both are squashed
    alike. Components of MultiDiscrete, dimensions of Box and parts of Dict and Tuple actions are
    independent, so theirs add up. A student that equals its teacher is left as it is.

    Args:
        teacher: RLlib's distribution for torch, of B rows.
        student: another of the same kind and shape.
        temperature: T, above 0.

    Returns:
        Shape (B,), or (B, T) where rows are sequences.

    Raises:
        ValueError: distributions of different or unknown kinds.
    """
    ours, theirs = getattr(teacher, "_dist", None), getattr(student, "_dist", None)
    if isinstance(ours, Categorical) and isinstance(theirs, Categorical):
        logits = (each.logits / temperature for each in (ours, theirs))
        return kl_divergence(*(Categorical(logits=z, validate_args=False) for z in logits))
    squashed = [isinstance(each, TorchSquashedGaussian) for each in (teacher, student)]
    if isinstance(ours, Normal) and isinstance(theirs, Normal) and len(set(squashed)) == 1:
        loc = torch.lerp(ours.loc, theirs.loc, 1 / temperature)
        log_scale = torch.lerp(ours.scale.log(), theirs.scale.log(), 1 / temperature)
        softened = Normal(loc, log_scale.exp(), validate_args=False)
        return kl_divergence(ours, softened).sum(-1)
    for kind, parts in (
        (TorchMultiCategorical, "_cats"),
        (TorchMultiDistribution, "_flat_child_distributions"),
    ):
        if isinstance(teacher, kind) and isinstance(student, kind):
            pairs = zip(getattr(teacher, parts), getattr(student, parts), strict=True)
            return torch.stack([softened_kl(*pair, temperature) for pair in pairs]).sum(0)
    kinds = f"{type(teacher).__name__} and {type(student).__name__}"
    raise ValueError(
        f"distillation between {kinds}: both must be categorical, both Gaussian, both squashed"
        " Gaussians, or the same combination of these"
    )


def _check_spaces(teacher: RLModule, action: gym.Space, observation: gym.Space) -> None:
    if teacher.action_space != action:
        raise ValueError(f"teacher: its actions are {teacher.action_space}, the student's {action}")
    if teacher.observation_space != observation:
        raise ValueError(
            f"teacher: its observations are {teacher.observation_space},"
            f" the student's {observation}"
        )


def check_pair(teacher: RLModule, student: RLModule) -> None:
    """Raises ValueError unless one can be compared with the other."""
    _check_spaces(teacher, student.action_space, student.observation_space)
    if isinstance(student, SelfSupervisedLossAPI):
        raise ValueError(f"{type(student).__name__} computes its loss itself; nothing can be added")
    for what, of in (
        ("recurrent", lambda module: module.is_stateful()),
        ("a network of Q-values", acts_by_values),
    ):
        if of(teacher) != of(student):
            which = "the teacher" if of(teacher) else "the student"
            raise ValueError(f"teacher and student must be of one kind: only {which} is {what}")
    if acts_by_values(student):
        return
    one, other = (_distribution(module) for module in (teacher, student))
    softened_kl(one, other, temperature=1.0)


def _distribution(module: RLModule) -> Any:
    with torch.no_grad():
        answer = module.forward_inference(forward_inputs(module))
    if Columns.ACTION_DIST_INPUTS not in answer:
        raise ValueError(f"{type(module).__name__} has no distribution of actions to compare")
    inputs = answer[Columns.ACTION_DIST_INPUTS].cpu()
    return module.get_train_action_dist_cls().from_logits(inputs)


def acts_by_values(module: RLModule) -> bool:
    """Whether actions are chosen by Q-values alone, as DQN's are (SAC's critics don't act)."""
    if not isinstance(module, QNetAPI):
        return False
    with torch.no_grad():
        return Columns.ACTION_DIST_INPUTS not in module.forward_inference(forward_inputs(module))


def forward_inputs(module: RLModule, observations: Any = None) -> dict[str, Any]:
    """What the module's forward passes take; without observations, an arbitrary one."""
    device = next(module.parameters()).device
    if observations is None:
        space = copy.deepcopy(module.observation_space)  # whose random numbers are others'
        space.seed(0)
        lead = (1, 1) if module.is_stateful() else (1,)
        observations = tree.map_structure(
            lambda value: torch.as_tensor(value, device=device).float().expand(*lead, *value.shape),
            space.sample(),
        )
    inputs = {Columns.OBS: observations}
    if module.is_stateful():
        rows = tree.flatten(observations)[0].shape[0]
        inputs[Columns.STATE_IN] = tree.map_structure(
            lambda state: torch.as_tensor(state, device=device).expand(rows, *state.shape),
            module.get_initial_state(),
        )
    return inputs
