"""RLlib's update with less Python around the same numbers, on a living learner.

Of an update of a small network most of the time goes into what stands beside the mathematics:
slicing minibatches by classes for any structure, setting the training mode of each layer before
each pass, logging figures of which only the last one counts, and looking twice at each gradient.
Losses, gradients, clipping, optimizers and random numbers stay RLlib's, called in its order, so
that weights are its, bit for bit. Like masks, this is put on the learner: any class of learners
serves, and checkpoints know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils import force_tuple
from ray.rllib.utils.minibatch_utils import MiniBatchCyclicIterator
from torch import Tensor

from prune_search.rllib.runners.gradients import LeanGradients
from prune_search.rllib.running import each_learner, unwrapped


def lighten(algorithm: Algorithm) -> None:
    """Lets an algorithm's learners update in less time; several that update together stay."""
    config = algorithm.config
    if config is not None and config.num_learners <= 1 and not config.torch_compile_learner:
        each_learner(algorithm, LeanUpdate)


def lightened(learner: Any) -> bool:
    """Whether a learner takes its steps in less time."""
    return "_update" in vars(learner)


class LeanUpdate:
    """Takes the place of some of a learner's methods, where its class has RLlib's usual ones."""

    def __init__(self, learner: Any) -> None:
        self._learner, kind = learner, type(learner)
        self._update, self._iterator = learner.update, learner._create_iterator_if_necessary
        if kind._uncompiled_update is TorchLearner._uncompiled_update:
            learner._update, self._gradients = self._step, LeanGradients(learner)
        if kind._create_iterator_if_necessary is TorchLearner._create_iterator_if_necessary:
            learner._create_iterator_if_necessary = self._minibatches
        if kind.update is TorchLearner.update:  # not in a thread, as IMPALA's
            learner.update = self._logged
        for connector in getattr(learner._learner_connector, "connectors", ()):
            if type(connector) is AddOneTsToEpisodesAndTruncate:
                connector.add_n_batch_items = _add_arrays

    def _logged(self, *args: Any, **kwargs: Any) -> Any:
        """`update`; figures of which only the last or the sum counts are logged once."""
        metrics = self._learner.metrics
        self._learner.metrics = held = LastFigures(metrics)
        try:
            return self._update(*args, **kwargs)
        finally:
            held.hand_on()
            self._learner.metrics = metrics

    def _minibatches(self, **kwargs: Any) -> Any:
        """Views of one batch, where it is one of tensors; else as RLlib takes them from it."""
        stock: Any = self._iterator(**kwargs)
        if type(stock) is not MiniBatchCyclicIterator or len(stock._batch.policy_batches) != 1:
            return stock
        (batch,) = stock._batch.policy_batches.values()
        plain = all(isinstance(value, Tensor) for value in batch.values())
        return _sliced(stock) if plain and not batch._slice_seq_lens_in_B else stock

    def _step(self, batch: dict[str, Any], **_: Any) -> tuple[Any, Any, dict[str, Any]]:
        """A step on a minibatch, by all of the learner's own methods."""
        learner = self._learner
        update = learner.metrics if isinstance(learner.metrics, LastFigures) else None
        if update is not None:  # of this figure, too, only the last counts
            update.later("off policy", partial(learner._compute_off_policyness, batch))
        else:
            learner._compute_off_policyness(batch)
        outputs = {name: self._forward(name, each) for name, each in batch.items()}
        losses = learner.compute_losses(fwd_out=outputs, batch=batch)
        self._gradients.step(losses, update)
        return outputs, losses, {}

    def _forward(self, module_id: str, batch: Any) -> Any:
        module = unwrapped(self._learner, module_id)
        if getattr(module.forward_train, "__func__", None) is not TorchRLModule.forward_train:
            return module.forward_train(batch)
        if not module.training:
            module.train()
        return module._forward_train(batch)


class LastFigures:
    """A learner's metrics during an update: figures of a window of one, and sums, wait for its end.

    Args:
        metrics: RLlib's MetricsLogger, which is asked for everything else.
    """

    def __init__(self, metrics: Any) -> None:
        self._metrics = metrics
        self._last: dict[tuple[str, ...], tuple[Any, dict[str, Any]]] = {}
        self._later: dict[str, Callable[[], None]] = {}

    def later(self, name: str, log: Callable[[], None]) -> None:
        """What logs some figures is called in the end; of those of one name, only the last."""
        self._later[name] = log

    def log_value(self, key: Any, value: Any, **kwargs: Any) -> None:
        """As RLlib's."""
        key, reduce, window = force_tuple(key), kwargs.get("reduce"), kwargs.get("window")
        if window == 1 and reduce in (None, "mean"):
            self._last[key] = value.detach() if isinstance(value, Tensor) else value, kwargs
        elif window is None and reduce in ("sum", "lifetime_sum"):
            before = self._last[key][0] if key in self._last else 0
            self._last[key] = before + value, kwargs
        else:
            self._metrics.log_value(key, value, **kwargs)

    def log_dict(self, value_dict: dict[Any, Any], *, key: Any = None, **kwargs: Any) -> None:
        """As RLlib's."""
        if kwargs.get("window") != 1 or any(isinstance(v, dict) for v in value_dict.values()):
            self._metrics.log_dict(value_dict, key=key, **kwargs)
            return
        for name, value in value_dict.items():
            self.log_value((*force_tuple(key), *force_tuple(name)), value, **kwargs)

    def log_time(self, *args: Any, **kwargs: Any) -> Any:
        """As RLlib's."""
        return self._metrics.log_time(*args, **kwargs)

    def hand_on(self) -> None:
        """Logs what has waited."""
        while self._later:
            self._later.popitem()[1]()
        for key, (value, kwargs) in self._last.items():
            self._metrics.log_value(key, value, **kwargs)
        self._last.clear()

    def __contains__(self, key: Any) -> bool:
        self.hand_on()
        return key in self._metrics

    def __getattr__(self, name: str) -> Any:
        self.hand_on()
        return getattr(self._metrics, name)


class _Rows(dict[str, Tensor]):
    """Columns of a minibatch; their length is that of each, as of RLlib's batches."""

    def __len__(self) -> int:
        return len(next(iter(self.values())))


class _Minibatch(NamedTuple):
    """What RLlib's learner asks of a MultiAgentBatch."""

    policy_batches: dict[str, _Rows]
    steps: int

    def env_steps(self) -> int:
        """Those of the batch that it is taken from, as RLlib counts them."""
        return self.steps


def _add_arrays(batch: Any, column: str, items: list[bool], count: int, episode: Any) -> None:
    """RLlib's `add_n_batch_items`, which goes through lists item by item, but not arrays."""
    ConnectorV2.add_n_batch_items(batch, column, np.array(items), count, episode)


def _sliced(stock: MiniBatchCyclicIterator) -> Iterator[_Minibatch]:
    """The minibatches of RLlib's iterator: through the batch again and again, shuffled or not."""
    ((module_id, batch),) = stock._batch.policy_batches.items()
    start = epochs = count = 0
    least, length = stock._num_total_minibatches, len(batch)
    while count < least if least else epochs < stock._num_epochs:
        parts, wanted = [], stock._minibatch_size
        while start + wanted >= length:
            parts.append({name: batch[name][start:] for name in batch})
            wanted -= length - start
            start = 0
            epochs += 1
            if stock._shuffle_batch_per_epoch:
                batch.shuffle()
        if wanted:
            parts.append({name: batch[name][start : start + wanted] for name in batch})
        start += wanted
        rows = parts[0]
        if len(parts) > 1:
            rows = {name: torch.cat([part[name] for part in parts]) for name in rows}
        yield _Minibatch({module_id: _Rows(rows)}, len(stock._batch))
        count += 1
