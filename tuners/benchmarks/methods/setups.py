"""The smallest tasks, networks and settings under which every algorithm of RLlib's learns.

Observations are vectors or images, actions discrete or continuous, an iteration a few dozen
steps. Algorithms that learn from recorded episodes get random ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.offline.offline_data import OfflineData
from ray.rllib.offline.offline_prelearner import OfflinePreLearner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.algorithms import ALGORITHMS, algorithm_config
from prune_search.rllib.networks.shapes import shrinkable

NetworkKind = Literal["vector", "image"]
ActionKind = Literal["discrete", "continuous"]

_ACTIONS: dict[str, tuple[ActionKind, ...]] = {
    "DQN": ("discrete",),
    "SAC": ("continuous", "discrete"),
    "CQL": ("continuous",),
    "IQL": ("continuous",),
}
ACTIONS = {name: _ACTIONS.get(name, ("discrete", "continuous")) for name in ALGORITHMS}
"""What each algorithm of RLlib's can choose from, what it is used with most first."""


class Setup(NamedTuple):
    """What a cell prunes: an algorithm on one of the small tasks."""

    algorithm: str
    """A key of `ALGORITHMS`."""
    actions: ActionKind
    """One of two, or a point in [-1, 1]^4."""
    network: NetworkKind
    """What its networks read."""

    def __str__(self) -> str:
        return f"{self.algorithm}, {self.actions} actions, {self.network}s"


SETUPS = tuple(
    Setup(algorithm, actions, network)
    for algorithm, kinds in ACTIONS.items()
    for actions in kinds
    for network in get_args(NetworkKind)
)
"""All that RLlib has."""

_ENVIRONMENT = "prune-search/Sides-v0"
_STEPS = 8  # of an episode


class Sides(gym.Env[NDArray[np.float32], Any]):
    """Something bright on one of two sides; the return is larger the closer actions are to it.

    Args:
        images: observations are images, [8, 8, 4], not vectors, [4]; both in [0, 1].
        continuous: actions are in [-1, 1]^4, not one of two.
    """

    def __init__(self, images: bool = False, continuous: bool = False) -> None:
        shape = (8, 8, 4) if images else (4,)
        self.observation_space = spaces.Box(0.0, 1.0, shape, np.float32)
        self.action_space = (
            spaces.Box(-1.0, 1.0, (4,), np.float32) if continuous else spaces.Discrete(2)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        reward = -float(np.abs(np.mean(action) - self._side))
        self._steps += 1
        return self._observation(), reward, self._steps >= _STEPS, False, {}

    def _observation(self) -> NDArray[np.float32]:
        self._side = int(self.np_random.integers(2))
        assert self.observation_space.shape is not None
        found: NDArray[np.float32] = np.asarray(
            self.np_random.random(self.observation_space.shape, dtype=np.float32) / 2
        )
        half = len(found) // 2
        found[half * self._side : half * (self._side + 1)] += 0.5
        return found


if _ENVIRONMENT not in gym.registry:
    gym.register(_ENVIRONMENT, entry_point=Sides)


def small_experiment(setup: Setup) -> Experiment:
    """The task, network and settings of an algorithm."""
    images = setup.network == "image"
    model: dict[str, Any] = {"fcnet_hiddens": [16, 16]}
    if images:
        filters = [[8, 3, 2], [8, 3, 2]]
        model = {"conv_filters": filters, "conv_activation": "relu", "head_fcnet_hiddens": [12]}
    recorded = issubclass(ALGORITHMS[setup.algorithm], MARWILConfig | CQLConfig)
    return Experiment.model_validate(
        {
            "environment": {
                "id": _ENVIRONMENT,
                "modules": [__name__],
                "config": {"images": images, "continuous": setup.actions == "continuous"},
            },
            "algorithm": {
                "name": setup.algorithm,
                "training": _training(setup),
                "model": model,
                "offline": {"input_": ["memory"], "offline_data_class": InProcess}
                if recorded
                else {},
            },
            # Cells look at what methods do: no trial ends because its policy is no good.
            "pruning": {"floor": 0.0, "patience": 100},
            "evaluation": {"episodes": 4, "final_episodes": 4, "envs": 4},
            "resources": {"envs_per_env_runner": 2},
        }
    ).trusting()  # its recorded episodes are made here


def small_config(experiment: Experiment) -> AlgorithmConfig:
    """RLlib's configuration, whose networks can be shrunk, as in trials."""
    config = shrinkable(algorithm_config(experiment, seed=1))
    if not experiment.algorithm.offline:  # what samples nothing would go on for ever
        config.reporting(min_sample_timesteps_per_iteration=16)
    return config


def _training(setup: Setup) -> dict[str, Any]:
    kind = ALGORITHMS[setup.algorithm]
    if issubclass(kind, IMPALAConfig):  # and APPO
        return {"train_batch_size_per_learner": 40}
    if issubclass(kind, PPOConfig):
        return {"train_batch_size_per_learner": 32, "minibatch_size": 16, "num_epochs": 1}
    if not issubclass(kind, DQNConfig) and kind is not ALGORITHMS["SAC"]:
        return {"train_batch_size_per_learner": 32}
    # RLlib's own target entropy is meant for continuous actions.
    entropy = {"target_entropy": 0.3} if setup.algorithm == "SAC" else {}
    return {
        **(entropy if setup.actions == "discrete" else {}),
        "train_batch_size_per_learner": 16,
        "num_steps_sampled_before_learning_starts": 16,
        "target_network_update_freq": 4,
        "tau": 0.5,
        "training_intensity": 2,
        "replay_buffer_config": {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 1000},
    }


class InProcess(OfflineData):
    """Steps of random actions, which RLlib's pre-learner makes batches of in this process.

    RLlib leaves that to tasks of Ray Data, whose start takes longer than all updates here.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        self.config = config
        self.iter_batches_kwargs: dict[str, Any] = {}
        self._made: OfflinePreLearner | None = None

    def sample(self, num_samples: int, return_iterator: bool = False, **_: Any) -> Any:
        """A batch, or what RLlib's learners take for an iterator of Ray Data."""
        if return_iterator:
            return [self]
        modules: dict[str, dict[str, Any]] = {}
        for name, value in self._batch().items():
            module_id, key = name.split("/", 1)
            modules.setdefault(module_id, {})[key] = value
        steps = len(next(iter(modules.values()))[Columns.OBS])
        return MultiAgentBatch(
            {name: SampleBatch(held) for name, held in modules.items()}, env_steps=steps
        )

    def iter_torch_batches(self, **_: Any) -> Iterator[dict[str, torch.Tensor]]:
        """Batches, as Ray Data's iterators give them."""
        while True:
            yield {name: torch.as_tensor(value) for name, value in self._batch().items()}

    def _batch(self) -> dict[str, Any]:
        if self._made is None:
            state = self.learner_handles[0].get_state(component=COMPONENT_RL_MODULE)
            self._made = OfflinePreLearner(
                config=self.config,
                spaces=self.spaces[INPUT_ENV_SPACES],
                module_spec=self.module_spec,
                module_state=state[COMPONENT_RL_MODULE],
            )
        found: dict[str, Any] = self._made(_recorded(**self.config.env_config))
        return found


@functools.cache
def _recorded(images: bool, continuous: bool) -> dict[str, list[Any]]:
    """Steps of random actions: a column for each of what RLlib records."""
    environment = Sides(images, continuous)
    environment.action_space.seed(0)
    steps: list[dict[str, Any]] = []
    for episode in range(8):
        observation, _ = environment.reset(seed=episode)
        ended = False
        while not ended:
            action = environment.action_space.sample()
            following, reward, ended, _, _ = environment.step(action)
            steps.append(
                {
                    "eps_id": str(episode),
                    "obs": observation,
                    "actions": action,
                    "rewards": reward,
                    "new_obs": following,
                    "terminateds": ended,
                    "truncateds": False,
                }
            )
            observation = following
    return {name: [step[name] for step in steps] for name in steps[0]}
