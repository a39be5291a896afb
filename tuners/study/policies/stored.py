"""The policies that a study keeps: measured anew, and written out for use elsewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prune_search.errors import UserError, one_line
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord
from prune_search.records.returns import Return
from prune_search.rllib.evaluation.asked import check_evaluation
from tuners.catalog.finding import checkpoint

_OPTION = re.compile(r"(?<!\S)--([a-z]+(?:-[a-z]+)*)")

if TYPE_CHECKING:
    from ray.rllib.core.rl_module.rl_module import RLModule

    from prune_search.export.exporting import Export
    from prune_search.export.policy import Policy
    from prune_search.export.rllib import Compacted
    from prune_search.sparsity.sizes import Size
    from tuners.study.policies.registering import Registered


@dataclass(frozen=True)
class Evaluated:
    """What a policy turned out to be, counted and played anew."""

    size: Size
    """Of the networks in the checkpoint."""
    returned: Return
    baseline: BaselineRecord | None
    """The dense policy that it is compared with; None for a study that has none yet."""
    episodes: int
    seed: int

    @property
    def parameters(self) -> int:
        """Of the baseline: units that were taken out count as its zeros."""
        return self.baseline.parameters if self.baseline else self.size.parameters

    @property
    def sparsity(self) -> float:
        """In [0, 1], biases counted."""
        return 1 - self.size.nonzero / self.parameters

    @property
    def weight_sparsity(self) -> float:
        """In [0, 1], of the kernels alone."""
        kernels = self.baseline.weights if self.baseline else self.size.weights
        return 1 - self.size.weights_nonzero / kernels

    @property
    def retention(self) -> float | None:
        """Of the baseline's return; None without one."""
        return self.baseline.retention(self.returned.value) if self.baseline else None


class StoredPolicy:
    """A policy in a checkpoint of a study's.

    Args:
        folder: the study's.
        experiment: what it does.
        name: a point's, `t03/2`, or `baseline`, or `control`.
    """

    def __init__(self, folder: StudyFolder, experiment: Experiment, name: str) -> None:
        self._folder, self._experiment, self.name = folder, experiment, name

    @property
    def checkpoint(self) -> Path:
        """Of the algorithm, fetched from the study's mirror where it is not here.

        Raises:
            UserError: it is gone, or there is no such point; the message lists those there are.
        """
        return checkpoint(self._folder, self.name)

    def policy(self) -> Policy:
        """The policy, to act with: observation in, action out."""
        from prune_search.export.policy import Policy

        return Policy(self.checkpoint)

    def evaluate(
        self, episodes: int | None = None, seed: int | None = None, under: str | None = None
    ) -> Return:
        """The policy's return, measured anew; the arguments are those of `measure`."""
        return self.measure(episodes, seed, under).returned

    def measure(
        self, episodes: int | None = None, seed: int | None = None, under: str | None = None
    ) -> Evaluated:
        """Its sizes and its return, from the checkpoint alone.

        Args:
            episodes: 2 to 100,000; as many as in the search if None.
            seed: of the evaluation, 0 to 9,999; the search's own if None.
            under: what is done to the task meanwhile, such as `noise=0.1`; see
                `prune_search.rllib.evaluation.perturbation`. Nothing if None.

        Raises:
            UserError: the checkpoint can't be read, the task has nothing of that kind, or an
                argument is out of range.
        """
        check_evaluation(seed, episodes)
        path = self.checkpoint
        from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter

        settings, study = self._experiment.evaluation, self._folder.study()
        episodes = settings.episodes if episodes is None else episodes
        seed = settings.seed if seed is None else seed
        experiment = self._experiment
        if under is not None:
            from prune_search.rllib.evaluation.perturbation import perturbation, perturbed

            experiment = perturbed(experiment, perturbation(under))
        meter = CheckpointMeter(experiment, self._folder.path.parent)
        found = meter.measure(path, seed, episodes)
        baseline = study.baseline if study else None
        return Evaluated(found.size, found.returned, baseline, episodes, seed)

    def restore(self, to: str | Path) -> Path:
        """Writes the algorithm's checkpoint into a new folder, and returns the folder.

        Raises:
            UserError: there is such a folder, or it can't be written.
        """
        target, source = new_folder(to), self.checkpoint
        with _writing(target):
            shutil.copytree(source, target)
        return target

    def laid_back(self) -> dict[str, RLModule]:
        """Its networks in the dense shape, by ModuleID; those of the baseline are dense.

        Raises:
            UserError: a checkpoint can't be read.
        """
        from prune_search.export.rllib import laid_back, policies

        path, dense = self.checkpoint, checkpoint(self._folder, "baseline")
        return policies(path) if path == dense else laid_back(path, dense)

    def compacted(self) -> dict[str, Compacted]:
        """The networks that act without what zeros have made superfluous, by ModuleID.

        Raises:
            UserError: the checkpoint can't be read, or a network can't be compacted.
        """
        from prune_search.export.rllib import compacted, policies

        return compacted(policies(self.checkpoint))

    def export(
        self,
        to: str,
        path: str | Path | None = None,
        *,
        observations: int = 10_000,
        max_bytes: int | None = None,
        anyway: bool = False,
        levels: Sequence[float] = (),
        env_steps: int | None = None,
    ) -> Export:
        """Writes the policy as a file that runs without RLlib, and measures that file.

        Args:
            to: the target's name: torch, onnx, onnx-int8, c, c-int8, web, litert, packed, rllib,
                or one of your own.
            path: of the file or folder, which must not be there; named by study and point if None.
            observations: for how many its actions are compared with RLlib's.
            max_bytes: what it may have at most.
            anyway: keep it although its return lies below this policy's interval.
            levels: sparsities, in (0, 1), that it can be switched to beside its own: `c`, `packed`.
            env_steps: to train the levels for together; they are cut alone if None.

        Raises:
            UserError: the target is unknown or has no place for the policy, the file is worse than
                the policy, or can't be written.
        """
        from tuners.study.policies.exports import export_chosen

        with _as_arguments():
            _, found = export_chosen(
                self._folder,
                self._experiment,
                self.name,
                to,
                None if path is None else Path(path).expanduser(),
                observations=observations,
                max_bytes=max_bytes,
                anyway=anyway,
                levels=levels,
                env_steps=env_steps,
            )
        return found

    def register(
        self,
        name: str | None = None,
        to: str = "onnx",
        *,
        observations: int = 10_000,
        max_bytes: int | None = None,
        anyway: bool = False,
    ) -> Registered:
        """Exports it, and makes that the next version of a model in MLflow's registry.

        Args:
            name: the registered model's; the study's if None.
            to: the target's name: onnx, onnx-int8, packed.
            observations: as `export`.
            max_bytes: as `export`.
            anyway: as `export`.

        Raises:
            UserError: as `export`; or the registry does not answer, or does not take the name or
                the target.
        """
        from tuners.study.policies.registering import register

        with _as_arguments():
            return register(
                self._folder,
                self._experiment,
                self.name,
                name,
                to,
                observations=observations,
                max_bytes=max_bytes,
                anyway=anyway,
            )

    def compact(self, to: str | Path) -> Path:
        """Writes what `compacted` gives into a new folder, and returns the folder.

        Raises:
            UserError: there is such a folder, it can't be written, or as `compacted`.
        """
        target = new_folder(to)
        return save({name: found.module for name, found in self.compacted().items()}, target)


def save(networks: Mapping[str, RLModule], to: str | Path) -> Path:
    """Writes each network into a folder of its ModuleID in a new folder; returns the latter.

    Raises:
        UserError: there is such a folder, or it can't be written.
    """
    from prune_search.export.rllib import save as save_into

    target = new_folder(to)
    with _writing(target):
        save_into(networks, target)
    return target


def new_folder(to: str | Path) -> Path:
    """The path of a folder that is not there yet.

    Raises:
        UserError: it is.
    """
    target = Path(to).expanduser()
    if target.exists():
        raise UserError(f"to: {str(target)!r} exists; give another folder")
    return target


@contextmanager
def _as_arguments() -> Iterator[None]:
    """What is said of a command's options, `--max-bytes`, is said of arguments: `max_bytes`."""
    try:
        yield
    except UserError as error:
        raise type(error)(_OPTION.sub(_argument, str(error))) from None


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return {"out": "path", "as": "name", "anyway": "anyway=True"}.get(name, name)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # shutil's is one
        raise UserError(f"to: cannot write {str(target)!r}: {one_line(error)}") from None
