"""Studies made by hand, for the tests of all that reads records."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Environment, Experiment, Tracking
from prune_search.experiment.search_section import Search
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import front
from prune_search.records.models import (
    BaselineRecord,
    ControlRecord,
    FinalRecord,
    Point,
    StudyRecord,
    TrialRecord,
    trial_name,
)
from prune_search.records.reasons import BUDGET_USED
from prune_search.records.returns import Return
from tuners.tracking.mlflow.tracking import MlflowTracking
from tuners.tracking.projector import Tracker

PARAMETERS = 4_610
STARTED = 1_760_000_000.0


def unpack_old_study(folder: Path) -> Path:
    """A study `old` of version 0.1.0, stopped within its second trial, in a storage folder."""
    with tarfile.open(Path(__file__).parent / "data" / "study-0.1.0.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    return folder


def returned(iqm: float, episodes: int = 20) -> Return:
    return Return(
        aggregate="mean",
        iqm=iqm,
        low=iqm - 0.04 * abs(iqm) - 1,
        high=min(iqm + 12, 500),
        episodes=episodes,
        each=[iqm + 40 * (number / (episodes - 1) - 0.5) for number in range(episodes)],
    )


BASELINE = BaselineRecord(
    key="0123456789ab",
    checkpoint="/somewhere/baseline",
    returned=returned(500.0),
    random=returned(20.0),
    parameters=PARAMETERS,
    weights=4_480,
    env_steps=60_000,
    train_s=13.0,
)


def make_plan(number: int, ratio: float = 0.98) -> Plan:
    """Plans that differ, one in five by threshold."""
    pick = random.Random(number)
    criterion = pick.choice(["magnitude", "saliency", "gradient", "random"])
    schedule = pick.choice(["one_shot", "linear", "cubic", "geometric"])
    scope = pick.choice(["actor", "both"])
    by_threshold = number % 5 == 4
    timed = schedule != "one_shot"
    return Plan(
        granularity="weight",
        criterion="threshold" if by_threshold else criterion,
        allocation=None if by_threshold else pick.choice(["uniform", "global", "erk"]),
        scope=scope,
        ratio=None if by_threshold else ratio,
        critic_ratio=pick.uniform(0.3, 0.9) if scope == "both" and not by_threshold else None,
        threshold=pick.uniform(0.5, 2.5) if by_threshold else None,
        threshold_unit="std" if by_threshold else None,
        schedule=schedule,
        start=0.0 if timed else None,
        end=pick.choice([0.5, 0.75]) if timed else None,
        rounds=6,
        env_steps=40_000,
        lr_scale=1.0,
    )


def make_control(*rounds: float) -> ControlRecord:
    """The dense control whose rounds returned this, taken at its best."""
    best = max(rounds)
    return ControlRecord(
        checkpoint="/somewhere/control",
        returned=returned(best),
        retention=BASELINE.retention(best),
        round=rounds.index(best),
        rounds=[returned(one) for one in rounds],
        env_steps=40_000,
        train_s=20,
    )


def make_point(trial: int, number: int, sparsity: float, iqm: float) -> Point:
    nonzero = round(PARAMETERS * (1 - sparsity))
    return Point(
        trial=trial,
        round=number,
        progress=number / 6,
        target=sparsity,
        sparsity=1 - nonzero / PARAMETERS,
        weight_sparsity=min(1.0, (1 - nonzero / PARAMETERS) * 1.01),
        trained_sparsity=sparsity * 0.7,
        parameters=PARAMETERS,
        nonzero=nonzero,
        compression=PARAMETERS / nonzero,
        layers={"encoder.0.weight": sparsity},
        returned=returned(iqm),
        return_pruned=iqm * 0.6,
        return_training=None if number == 1 else iqm * 0.8,
        retention=BASELINE.retention(iqm),
        env_steps=number * 6_666,
        train_s=3.5,
        eval_s=0.4,
        time=STARTED + 100 * trial + 10 * number,
        checkpoint=f"trials/{trial_name(trial)}/round-{number:02d}",
    )


def make_trial(
    number: int, rounds: int = 6, state: str = "complete", **changes: object
) -> TrialRecord:
    """A trial whose return falls with sparsity, with noise, and recovers in its last rounds."""
    noise = random.Random(100 + number)
    ratio = 1 - 0.1 * (0.07 ** noise.random())
    plan = make_plan(number, ratio)
    quality = noise.uniform(0.985, 0.999)
    points = []
    for at in range(1, rounds + 1):
        sparsity = ratio if plan.schedule == "one_shot" else ratio * min(1.0, at / 4) ** 0.3
        collapse = 1 / (1 + ((1 - quality) / (1 - sparsity)) ** 3)
        recovered = 0.8 + 0.2 * at / 6
        iqm = max(9.0, min(500.0, 500 * collapse * recovered + noise.gauss(0, 12)))
        points.append(make_point(number, at, sparsity, iqm))
    record = TrialRecord(
        number=number,
        plan=plan,
        state=state,
        reason={"complete": BUDGET_USED, "failed": "NaN in the learner's weights"}.get(state, ""),
        chosen_by="probe" if number < 4 else "tpe",
        started=STARTED + 100 * number,
        points=points,
    )
    return record.model_copy(update=changes)


def make_study(storage: Path, trials: int = 3, name: str = "cartpole") -> StudyFolder:
    """A study's folder with its baseline and complete trials."""
    folder = StudyFolder(storage, name)
    folder.write_study(StudyRecord(name=name, started=STARTED, baseline=BASELINE, wall_s=321.0))
    folder.experiment_file.write_text("environment: {id: CartPole-v1}\n", encoding="utf-8")
    for number in range(trials):
        folder.write_trial(make_trial(number))
    return folder


def make_experiment(**tracking: str) -> Experiment:
    return Experiment(
        description="A study made by hand.",
        environment=Environment(id="CartPole-v1"),
        pruning=Pruning(floor=0.5),
        search=Search(trials=12),
        tracking=Tracking(**tracking),
    )


def end_study(folder: StudyFolder) -> None:
    """Ends the search and re-evaluates its front, a little below what the search saw."""
    best = front(point for trial in folder.trials() for point in trial.points)
    folder.write_final(
        FinalRecord(
            baseline=returned(498, 100),
            random=returned(21, 100),
            points={point.name: returned(point.returned.iqm * 0.97, 100) for point in best},
        )
    )
    study = folder.study()
    assert study is not None
    folder.write_study(study.model_copy(update={"ended": STARTED + 5_000}))


def mlflow_tracker(folder: StudyFolder, experiment: Experiment, uri: str) -> Tracker:
    """What a driver tells of changes, with MLflow behind it."""
    return Tracker(folder, experiment, MlflowTracking(folder, experiment, uri))
