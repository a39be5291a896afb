"""A point's checkpoint by itself: what is in it, counted and measured anew."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from ray.rllib.core import COMPONENT_ENV_RUNNER
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.checkpoints import Checkpointable

from prune_search.errors import UserError, one_line
from prune_search.experiment.schema import Experiment
from prune_search.records.checkpoint import MODULES_PATH
from prune_search.records.returns import Return
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import CONNECTORS, Evaluator
from prune_search.rllib.networks.shapes import shrinkable
from prune_search.rllib.running import process_settings
from prune_search.sparsity.sizes import Size, size
from prune_search.storage.mirror import Mirror, MirrorError


@dataclass(frozen=True)
class Metered:
    """What a checkpoint turned out to be."""

    size: Size
    returned: Return


class CheckpointMeter:
    """Measures checkpoints of one experiment, one after another, in this process.

    Needs no cluster: it loads the networks alone.

    Args:
        experiment: whose checkpoints they are.
        storage: where they lie, or come to from the experiment's mirror; its `storage` if None.
    """

    def __init__(self, experiment: Experiment, storage: Path | None = None) -> None:
        process_settings(experiment.resources.threads)
        self._mirror = Mirror(storage or experiment.storage, experiment.mirror)
        config = shrinkable(algorithm_config(experiment, seed=0))
        self._evaluator = Evaluator(config, experiment.evaluation)

    def measure(self, algorithm: Path, seed: int, episodes: int) -> Metered:
        """Sparsity and return of the policy in an algorithm's checkpoint.

        Args:
            algorithm: folder of the checkpoint.
            seed: evaluation seed, 0 to 9,999.
            episodes: 1 to 100,000.

        Raises:
            UserError: the checkpoint cannot be read.
            MirrorError: it is not here, and the store does not answer.
            EnvironmentFault: an observation or a reward is not finite.
        """
        try:
            self._mirror.fetch(algorithm.parent, algorithm.name)
        except OSError as error:
            raise MirrorError(*error.args) from error
        try:
            states: dict[str, dict[str, Any]] = {
                name: RLModule.from_checkpoint(algorithm / MODULES_PATH / name).get_state(
                    inference_only=True
                )
                for name in self._evaluator.modules()
            }
            self._evaluator.load(states, _runner_state(algorithm))
        except Exception as error:
            raise UserError(
                f"checkpoint: {str(algorithm)!r} cannot be read: {one_line(error)}"
            ) from None
        return Metered(
            size(self._evaluator.named_parameters()), self._evaluator.measure(seed, episodes)
        )

    def random(self, seed: int, episodes: int) -> Return:
        """Return of uniformly random actions on the same episodes."""
        return self._evaluator.measure(seed, episodes, random=True)


def _runner_state(algorithm: Path) -> dict[str, Any]:
    """What its env runners held beside the network; see `evaluator.runner_state`."""
    folder = algorithm / COMPONENT_ENV_RUNNER
    state: dict[str, Any] = {}
    file = folder / f"{Checkpointable.STATE_FILE_NAME}.pkl"
    if file.is_file():
        with file.open("rb") as stream:
            state = pickle.load(stream)
    for name in CONNECTORS:
        if (folder / name).is_dir():
            state[name] = ConnectorPipelineV2.from_checkpoint(folder / name).get_state()
    return state
