"""Measuring a policy's return: vectorised, on held-out seeds, the same for everyone compared.

What RLlib puts between environment and network (observation filters, frame stacking, action
unsquashing) acts as in training, but learns nothing: what is measured is the state that was
loaded, and it leaves no trace in a training of the same process. Exactly one episode is played
for each seed, by `lean` where that can be, else by RLlib's own env runner, whose
`sample(num_episodes=n)` would return the n episodes that end first, which favours short ones.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from torch import Tensor

from prune_search.experiment.schema import Evaluation
from prune_search.records.intervals import summarised
from prune_search.records.returns import Return
from prune_search.rllib.connectors import obstacles
from prune_search.rllib.evaluation import lean
from prune_search.rllib.networks.roles import full_name
from prune_search.rllib.randomness import random_state_kept, seed_process

_FIRST_SEED = 2**30
_BLOCK = 100_000  # env seeds of one evaluation seed
LOOK = -1
"""The evaluation seed of looks at a training that goes on; no experiment can name it."""

CONNECTORS = (COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR)
"""What stands between environment and network; the names are those of RLlib's states and of the
folders in an env runner's checkpoint."""


def evaluation_seeds(seed: int, episodes: int) -> list[int]:
    """The env seeds that an evaluation seed names; no two evaluation seeds share one.

    All lie at 2**30 or above, those of looks close below it, and training seeds below 2**29.

    Args:
        seed: 0 to 9,999, or `LOOK`.
        episodes: 1 to 100,000.
    """
    if not (LOOK <= seed < 10_000 and 1 <= episodes <= _BLOCK):
        raise ValueError(f"seed must be 0..9999 and episodes 1..{_BLOCK}, got {seed}, {episodes}")
    start = _FIRST_SEED + seed * _BLOCK
    return list(range(start, start + episodes))


class Evaluator:
    """Plays evaluation episodes with the weights it is given.

    With several agents an episode's return is the sum of theirs.

    Args:
        config: of the algorithm whose policies are measured.
        evaluation: how.
        stock: whether RLlib's env runner plays even where `lean` can.
    """

    def __init__(
        self, config: AlgorithmConfig, evaluation: Evaluation, *, stock: bool = False
    ) -> None:
        config = config.copy(copy_frozen=False)
        config.env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=evaluation.envs,
            # Each environment has a seed of its own, which only this mode is sure to heed.
            gym_env_vectorize_mode="sync",
            create_env_on_local_worker=True,
        )
        self._settings = evaluation
        self._several = config.is_multi_agent
        runner = MultiAgentEnvRunner if self._several else SingleAgentEnvRunner
        with random_state_kept():  # RLlib's env runners seed the process that they are built in
            self._runner = runner(config=config)
        obstacles.freeze(self._runner._env_to_module)
        self._hold()
        self._sampled = evaluation.actions == "sampled"
        self._obstacle = "it was asked for" if stock else obstacles.of_surroundings(self._runner)
        self._lean = None
        if not self._obstacle:
            self._lean = lean.LeanRunner(
                self._runner, sampled=self._sampled, max_steps=evaluation.max_steps
            )

    def obstacle(self, *, random: bool = False) -> str:
        """Why RLlib's env runner plays the episodes; empty where the lean loop does.

        It may depend on what is loaded, and some reasons are found in playing the first block.

        Args:
            random: of random actions, not of the policy's.
        """
        if self._lean is None:
            return self._obstacle
        by_policy = "" if random else obstacles.of_policy(self._runner, self._sampled)
        return self._lean.obstacle or by_policy

    def modules(self) -> dict[str, RLModule]:
        """The inference networks, by ModuleID."""
        if not self._several:
            return {DEFAULT_MODULE_ID: self._runner.module}
        return dict(sorted(self._runner.module.items()))

    def named_parameters(self) -> dict[str, Tensor]:
        """What acts, by the names that learners' masks have.

        An env runner may hold more: RLlib gives recurrent ones value heads that get no weights.
        """
        modules = self.modules()
        plain = set(modules) == {DEFAULT_MODULE_ID}
        return {
            name if plain else full_name(module_id, name): parameter
            for module_id, module in modules.items()
            for acting in [module.get_state(inference_only=True)]
            for name, parameter in module.named_parameters()
            if name in acting
        }

    def load(
        self,
        module_states: dict[str, dict[str, Any]],
        runner_state: dict[str, Any] | None = None,
    ) -> None:
        """Takes over weights by ModuleID, and what else there is to a policy that acts.

        Args:
            module_states: by ModuleID, as `RLModule.set_state` takes them.
            runner_state: of the connectors (observation filters), and the env steps of the
                policy's life, which say how much sampled actions explore; see `runner_state`.

        Raises:
            ValueError: a network gets none.
        """
        modules = self.modules()
        missing = sorted(modules.keys() - module_states.keys())
        if missing:
            raise ValueError(f"no weights for the networks {missing}")
        for module_id, module in modules.items():
            module.set_state(module_states[module_id])
        if runner_state is not None:
            self._runner.set_state(runner_state)
        self._hold()

    def _hold(self) -> None:
        """Every block of episodes begins with the state that there is now."""
        self._held = copy.deepcopy(self._runner.get_state(components=CONNECTORS))

    def measure(self, seed: int, episodes: int, *, random: bool = False) -> Return:
        """Return of the loaded policy, or of random actions, over an evaluation seed's episodes."""
        return summarised(
            self.returns(evaluation_seeds(seed, episodes), random=random), self._settings.aggregate
        )

    def returns(self, seeds: Sequence[int], *, random: bool = False) -> NDArray[np.float64]:
        """Undiscounted return of one episode for each env seed, in their order."""
        size = self._settings.envs
        # The last block is filled up, so that every network pass has the same number of rows and
        # an episode does not depend on how many others are asked for.
        blocks = [list(seeds[i : i + size]) for i in range(0, len(seeds), size)]
        blocks = [block + [block[-1]] * (size - len(block)) for block in blocks]
        with random_state_kept():
            played = [
                self._block(block, min(size, len(seeds) - number * size), random)
                for number, block in enumerate(blocks)
            ]
        return np.concatenate(played)

    def _block(self, seeds: list[int], count: int, random: bool) -> NDArray[np.float64]:
        """Returns of the first episodes of a block."""
        if self._lean is not None and not self.obstacle(random=random):
            self._seed(seeds, random)
            found = self._lean.play(seeds, count, random)
            if found is not None:
                return np.array(found)
        return self._stock_block(seeds, random)[:count]

    def _seed(self, seeds: list[int], random: bool) -> None:
        if random:
            self._seed_actions(seeds[0])
        seed_process(seeds[0])  # sampled actions, and environments without a generator of their own

    def _stock_block(self, seeds: list[int], random: bool) -> NDArray[np.float64]:
        """What RLlib's env runner plays, of which the first episode of each environment counts."""
        runner, most = self._runner, self._settings.max_steps
        runner.set_state(copy.deepcopy(self._held))
        self._seed(seeds, random)
        runner._seed, runner._needs_initial_reset = seeds, True
        runner._reset_envs_and_episodes(self._sampled)
        order = [episode.id_ for episode in runner._ongoing_episodes]
        totals = dict.fromkeys(order, 0.0)
        unfinished, steps = set(order), 0
        while unfinished and steps < most:
            left, taken = most - steps, 0
            asked = min(lean.CHUNK, left) * len(seeds)
            for episode in runner.sample(
                num_timesteps=asked, explore=self._sampled, random_actions=random
            ):
                if episode.id_ in unfinished:
                    if not self._several:
                        _check_finite(episode)
                    totals[episode.id_] += self._paid(episode, left)
                    taken = max(taken, len(episode))
                    if episode.is_done:
                        unfinished.discard(episode.id_)
            steps += taken
        runner.get_metrics()  # else it keeps every episode for its statistics
        return np.array([totals[name] for name in order])

    def _paid(self, episode: Any, steps: int) -> float:
        """Sum of an episode's rewards in its first steps.

        There may be more: RLlib does not count the resets of environments whose episode has
        ended, and the rest take more steps than it was asked for.
        """
        if len(episode) <= steps:
            return float(episode.get_return())
        if not self._several:
            return float(sum(episode.get_rewards(slice(0, steps))))
        rewards = episode.get_rewards(slice(0, steps), return_list=True)
        return float(sum(sum(of_agents.values()) for of_agents in rewards))

    def _seed_actions(self, seed: int) -> None:
        """Seeds the spaces that random actions are sampled from."""
        if not self._several:
            self._runner.env.action_space.seed(seed)
            return
        environments = [environment.unwrapped for environment in self._runner.env.envs]
        agents = [(each, agent) for each in environments for agent in each.possible_agents]
        for number, (environment, agent) in enumerate(agents):
            environment.get_action_space(agent).seed(seed + number)


def runner_state(algorithm: Algorithm) -> dict[str, Any]:
    """What an algorithm's env runners hold beside the network, as `Evaluator.load` takes it."""
    state: dict[str, Any] = algorithm.env_runner.get_state(components=CONNECTORS)
    return state


def _check_finite(episode: Any) -> None:
    """Raises EnvironmentFault where an observation or a reward is not finite."""
    lean.check_finite("observation", episode.get_observations())
    lean.check_finite("reward", episode.get_rewards())
