"""A point's policy at work: observation in, action out, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from prune_search.artifacts.base import check_observation
from prune_search.errors import UserError
from prune_search.export.rllib import pipelines, policies
from prune_search.rllib.connectors.obstacles import INPUT, connectors, freeze, is_filter


class Policy:
    """Acts as the trial's evaluation did: by RLlib's own connectors, frozen as they were saved.

    Observation filters, and the stretching of actions to their bounds, are in them; the
    environment's wrappers are not, see `Experiment.environment`. Recurrent policies, and connectors
    that look back, know earlier calls until `reset`.

        policy = Policy("studies/cartpole/trials/t03/round-02/algorithm")
        action = policy(observation)

    Args:
        checkpoint: of an algorithm of RLlib's, such as a point's.

    Raises:
        UserError: it can't be read, or acts for several agents.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        path = Path(checkpoint).resolve()
        found = policies(path)
        if set(found) != {DEFAULT_MODULE_ID}:
            raise UserError(
                f"checkpoint: a policy acts for one agent, and {str(path)!r} has the networks"
                f" {', '.join(found) or 'none'}; open each by RLModule.from_checkpoint"
            )
        self.module: RLModule = found[DEFAULT_MODULE_ID]
        """RLlib's network."""
        self._before, self._after = pipelines(path)
        freeze(self._before)
        own = [each for each in connectors(self._before) if type(each) not in INPUT]
        self.remembers = self.module.is_stateful() or not all(map(is_filter, own))
        """Whether an action may depend on earlier calls."""
        self._episode = self._new()
        self._last: dict[str, Any] | None = None

    @property
    def parameters(self) -> int:
        """Entries of the network that acts, zeros among them."""
        return sum(value.numel() for value in self._acting())

    @property
    def nonzero(self) -> int:
        """Of these, those that are not zero."""
        return sum(int(torch.count_nonzero(value)) for value in self._acting())

    def _acting(self) -> Iterator[torch.Tensor]:
        acting = self.module.get_state(inference_only=True)
        return (value for name, value in self.module.named_parameters() if name in acting)

    def reset(self) -> None:
        """An episode begins: what remembers forgets the last one."""
        self._episode, self._last = self._new(), None

    @torch.no_grad()
    def __call__(self, observation: Any, *, sampled: bool = False) -> Any:
        """The action for an observation, as the environment takes it.

        Args:
            observation: one, of the (wrapped) environment's observation space.
            sampled: draw the action from the policy's distribution; else the likeliest is taken.

        Raises:
            ValueError: an observation of a Box has another shape, or is not finite.
        """
        self._check(observation)
        episode = self._episode
        if self._last is None or not self.remembers:
            episode = self._episode = self._new()
            episode.add_env_reset(observation)
        else:
            episode.add_env_step(
                observation,
                self._last[Columns.ACTIONS],
                0.0,
                extra_model_outputs={
                    key: value for key, value in self._last.items() if key != Columns.ACTIONS
                },
            )
        done = self._through([episode], sampled)
        self._last = {key: value[0] for key, value in done.items()}
        return self._last.pop(Columns.ACTIONS_FOR_ENV, self._last[Columns.ACTIONS])

    @torch.no_grad()
    def several(self, observations: Sequence[Any]) -> list[Any]:
        """Greedy actions for observations that have nothing to do with one another.

        Raises:
            ValueError: the policy remembers earlier calls, or as a call.
        """
        if self.remembers:
            raise ValueError("a policy that remembers takes one observation at a time")
        for observation in observations:
            self._check(observation)
        episodes = [self._new() for _ in observations]
        for episode, observation in zip(episodes, observations, strict=True):
            episode.add_env_reset(observation)
        done = self._through(episodes, sampled=False)
        return list(done.get(Columns.ACTIONS_FOR_ENV, done[Columns.ACTIONS]))

    def _check(self, observation: Any) -> None:
        space = self._before.input_observation_space
        if isinstance(space, spaces.Box):  # others fail in their encoding
            check_observation(np.asarray(observation), space.shape)

    def _through(self, episodes: list[SingleAgentEpisode], sampled: bool) -> dict[str, Any]:
        """What RLlib's connectors and network make of the episodes' last observations."""
        shared: dict[str, Any] = {}
        module = self.module
        given = self._before(
            episodes=episodes,
            batch={},
            rl_module=module,
            explore=sampled,
            shared_data=shared,
            metrics=None,
        )
        out = module.forward_exploration(given) if sampled else module.forward_inference(given)
        found: dict[str, Any] = self._after(
            episodes=episodes,
            batch=out,
            rl_module=module,
            explore=sampled,
            shared_data=shared,
            metrics=None,
        )
        return found

    def _new(self) -> SingleAgentEpisode:
        return SingleAgentEpisode(
            observation_space=self._before.input_observation_space,
            action_space=self._before.input_action_space,
        )
