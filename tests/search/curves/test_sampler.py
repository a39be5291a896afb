"""The sampler learns from rounds, of trials that run too; through Optuna, and in studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from prune_search.errors import UserError
from prune_search.experiment.fields import Range
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.experiment.search_section import Constraints
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import log_hypervolume
from prune_search.records.models import StudyRecord, TrialRecord
from prune_search.records.reasons import SEARCH_STEPS_USED, stopped_by
from tests.benchmarks.recorded.made_up import recording
from tests.search.test_space import EVERYTHING
from tests.studies import BASELINE, make_point
from tuners.benchmarks.recorded.compare import searches
from tuners.benchmarks.recorded.replay import replay
from tuners.benchmarks.recorded.tasks import experiment
from tuners.benchmarks.recorded.world import World
from tuners.recordings.dataset import shipped
from tuners.search.curves.borrowed import borrowed
from tuners.search.curves.sampler import CurveSampler
from tuners.search.samplers import check_sampler, sampler
from tuners.search.searcher import StudySearch
from tuners.search.space import Space

STEPS = 900_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(recording(80))


def with_sampler(chosen: Experiment, name: str, **options: Any) -> Experiment:
    changes = {"sampler": name, "sampler_options": options}
    return chosen.model_copy(update={"search": chosen.search.model_copy(update=changes)})


@pytest.mark.slow
def test_it_gets_further_than_random_choices_in_as_many_env_steps(world: World) -> None:
    found: dict[str, list[float]] = {"random": [], "curves": []}
    for seed in range(4):
        random = searches(recording(1), seed, STEPS)["random"].experiment
        for name, each in found.items():
            trials = replay(world, with_sampler(random, name), STEPS)
            each.append(log_hypervolume([point for trial in trials for point in trial.points]))
    assert np.mean(found["curves"]) > np.mean(found["random"]) + 0.02


def asked(
    known: list[TrialRecord], seed: int = 0, running: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The parameters of the next trial, beside one that runs and has not measured anything yet."""
    space = Space(experiment("cartpole", 1, ".").pruning)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in known:  # as many as there are, so that parents are found by their number
        trial = study.ask()
        space(trial)
        study.tell(trial, 0.0)
    if running:
        study.enqueue_trial(running)
        space(study.ask())
    study.sampler = CurveSampler(seed, space, lambda: known, thaw=False)
    trial = study.ask()
    space(trial)
    return trial.params


@pytest.fixture(scope="module")
def known(world: World) -> list[TrialRecord]:
    random = searches(recording(1), 0, STEPS)["random"].experiment
    return replay(world, random, STEPS)


def test_what_it_suggests_follows_from_seed_and_records_alone(known: list[TrialRecord]) -> None:
    assert asked(known) == asked(known) != asked(known, seed=1)
    assert asked(known) != asked(known[:5])


def test_rounds_of_running_trials_count(known: list[TrialRecord]) -> None:
    """Of a trial among few, so that it matters what its later rounds have shown."""
    whole = next(trial for trial in known if len(trial.points) == 8)
    others = [trial for trial in known if trial is not whole][:3]
    running = whole.model_copy(update={"state": "running"})
    few = running.model_copy(update={"points": whole.points[:1]})
    assert any(asked([*others, few], seed) != asked([*others, running], seed) for seed in range(4))


def test_what_runs_is_not_begun_again(known: list[TrialRecord]) -> None:
    chosen = asked(known)
    assert asked(known, running=chosen) != chosen


@pytest.mark.parametrize("thaw", [True, False])
def test_what_was_given_up_goes_on_where_that_adds_as_much_for_less(thaw: bool) -> None:
    """Of a space of one plan, as good as that goes: a new trial would do over what is done."""
    one = Pruning(ratio=0.99, rounds=8, env_steps=80_000, lr_scale=Range(low=0.5, high=0.6))
    space, known = Space(one), list[TrialRecord]()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number, reason in enumerate((SEARCH_STEPS_USED, stopped_by("the search"))):
        plan = space(trial := study.ask())
        study.tell(trial, 0.0)
        changes = {"progress": 1 / 8, "env_steps": 10_000}
        point = make_point(number, 0, 0.4, 500).model_copy(update=changes)
        fields = {"number": number, "plan": plan, "state": "stopped", "reason": reason}
        known.append(TrialRecord(**fields, started=0.0, points=[point]))
    made = CurveSampler(0, space, lambda: known, startup=1, thaw=thaw)
    study.sampler = made
    space(trial := study.ask())
    # The first was cut off: the search's budget was used, and it is not a search's to go on with.
    assert made.thaws == (known[1] if thaw else None)
    assert made.chosen_by == ("curves, thawed" if thaw else "curves")
    assert (trial.params == study.trials[1].params) == thaw


def test_until_there_are_trials_it_draws_at_random(known: list[TrialRecord]) -> None:
    assert asked([]) == asked(known[:3])
    options = searches(recording(1), 0, STEPS)["random"].experiment.search.model_copy(
        update={"sampler": "curves", "sampler_options": {"startup": 2}}
    )
    space = Space(experiment("cartpole", 1, ".").pruning)
    made = sampler(options, 3, space, lambda: known[:2])
    study = optuna.create_study(sampler=made)
    trial = study.ask()
    space(trial)
    assert made._chosen  # type: ignore[attr-defined]


def first_of(world: World, seed: int, **options: Any) -> tuple[dict[str, Any], str]:
    """The first trial of a study, and what chose it."""
    chosen = with_sampler(experiment("cartpole", 4, "."), "curves", **options)
    space = Space(chosen.pruning)
    search = chosen.search.model_copy(update={"seed": seed})
    made = sampler(search, 0, space, list, world.baseline)
    trial = optuna.create_study(sampler=made).ask()
    space(trial)
    return trial.params, made.chosen_by  # type: ignore[attr-defined]


def test_before_its_first_trial_it_knows_what_other_tasks_have_shown(world: World) -> None:
    params, chosen_by = first_of(world, 0)
    assert chosen_by == "curves" and first_of(world, 0)[0] == params
    assert first_of(world, 0, borrow=False)[1] == "curves, at random"
    assert first_of(world, 0, startup=1)[1] == "curves, at random"


def test_nothing_is_borrowed_of_an_environment_that_is_left_out_nor_of_its_variants() -> None:
    names = {one.task.name: len(one.trials) for one in shipped()}
    of_cartpole = names["cartpole"] + names["noisy-cartpole"]
    for without in ("CartPole-v1", "CartPole-v0", "NoisyCartPole-v0"):
        assert len(borrowed(without)) == len(borrowed()) - of_cartpole
    assert borrowed("Other-v0") == borrowed()


def test_spaces_of_every_kind(known: list[TrialRecord]) -> None:
    wide = EVERYTHING.model_copy(
        update={"allocation": ["erk", "searched"], "schedule": ["cubic", "gated"]}
    )
    space = Space(wide, layers=("one", "two"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space(study.ask())
    study.sampler = CurveSampler(0, space, lambda: known)
    assert space(study.ask()).env_steps == 60_000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"warm_start": ["earlier"]}, "search.warm_start: the sampler curves learns from"),
        ({"constraints": Constraints(max_macs=9)}, "search.constraints: the sampler curves does"),
        ({"objectives": ["retention", "latency_us"]}, "and not at 'latency_us'; with it"),
    ],
    ids=["warm start", "constraints", "objectives"],
)
def test_what_it_would_pass_over_is_refused(changes: dict[str, Any], told: str) -> None:
    chosen = with_sampler(experiment("cartpole", 4, "."), "curves")
    asks = chosen.model_copy(update={"search": chosen.search.model_copy(update=changes)})
    with pytest.raises(UserError, match=told) as raised:
        check_sampler(asks)
    assert "\n" not in str(raised.value)


def test_its_options_are_checked(tmp_path: Path) -> None:
    chosen = experiment("cartpole", 4, str(tmp_path))
    check_sampler(with_sampler(chosen, "curves", startup=6))
    with pytest.raises(UserError, match="sampler_options"):
        check_sampler(with_sampler(chosen, "curves", start=6))
    with pytest.raises(UserError, match=r"startup: must be a whole number from 0 on, got -1"):
        check_sampler(with_sampler(chosen, "curves", startup=-1))


@pytest.mark.parametrize("env_steps", [80_000, 0], ids=["trained here", "the user's"])
def test_a_study_begins_with_what_other_tasks_have_shown_also_after_a_restart(
    tiny: Any, tmp_path: Path, env_steps: int
) -> None:
    chosen = tiny(
        "search.sampler=curves", "search.probes=0", "pruning.ratio={low: 0.5, high: 0.99}"
    )
    baseline = BASELINE.model_copy(update={"env_steps": env_steps})
    found = []
    for name in ("one", "other"):
        folder = StudyFolder(tmp_path, name)
        folder.path.mkdir()
        folder.write_study(StudyRecord(name=name, started=0.0, baseline=baseline))
        searcher = StudySearch(chosen, folder)
        first = searcher.suggest("first")
        second = (StudySearch(chosen, folder) if name == "other" else searcher).suggest("second")
        assert first is not None and first["chosen_by"] == "curves"
        found.append((first, second))
    (first, second), (same, again) = found
    assert first == same and second is not None and second["chosen_by"] == "curves"
    assert again == same and second["plan"] != first["plan"]  # what runs is issued again


@pytest.mark.slow
def test_a_study_asks_with_its_own_records_also_after_a_restart(tiny: Any, tmp_path: Path) -> None:
    chosen = tiny(
        "search.sampler=curves",
        "search.probes=0",
        "search.trials=7",
        "pruning.ratio={low: 0.5, high: 0.99}",
    )

    def plans(name: str, restart: bool, breaks: float) -> list[dict[str, Any]]:
        """Of trials one after the other, which hold up to a sparsity."""
        folder, found = StudyFolder(tmp_path, name), []
        folder.path.mkdir()
        searcher = StudySearch(chosen, folder)
        for number in range(7):
            if restart:
                searcher = StudySearch(chosen, folder)
            config = searcher.suggest(f"trial{number}")
            assert config is not None and config["number"] == number
            plan = Plan.model_validate(config["plan"])
            found.append(config["plan"])
            assert config["chosen_by"] == ("curves, at random" if number < 4 else "curves")
            aim = plan.ratio or 0.5
            ends = [aim / 2, aim]
            points = [
                make_point(number, 1 + at, end, 450 if end < breaks else 12)
                for at, end in enumerate(ends)
            ]
            record = TrialRecord(
                number=number, plan=plan, state="complete", started=0.0, points=points
            )
            folder.write_trial(record)
            searcher.on_trial_complete(f"trial{number}", {"retention": 1.0, "compression": 2.0})
        return found

    whole = plans("whole", restart=False, breaks=0.7)
    assert plans("parts", restart=True, breaks=0.7) == whole
    other = plans("other", restart=False, breaks=1.0)
    assert other[:4] == whole[:4] and other[4:] != whole[4:]
