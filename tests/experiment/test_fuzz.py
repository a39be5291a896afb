"""Mutated experiment files: each is accepted, or refused in one line that says where it is wrong.

The files are made from the presets and from the schema, and the examples are the same in every
run: few by default, more under the slow mark.
"""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable
from typing import Any

import optuna
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.fields import as_choices
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.plan.axes import AXES
from prune_search.plan.plan import Plan
from prune_search.trial.preflight import check
from tuners.search.space import Space, parameters

LAYERS = ("encoder.actor_encoder.net.mlp.0.weight", "pi.net.mlp.0.weight")
LONGEST = 2_100
PRESETS = {name: YAML(typ="safe").load(text) for name, text in experiment_file.presets().items()}
SCHEMA = YAML(typ="safe").load(experiment_file.schema().replace("<required>", "CartPole-v1"))
SECTIONS = {
    name: list(info.annotation.model_fields)
    for name, info in Experiment.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
}
FIELDS = [f"{section}.{field}" for section, fields in SECTIONS.items() for field in fields]

numbers = st.one_of(
    st.sampled_from(
        [
            *(0, 1, -1, 0.5, 1.0, 2**31, 2**63, 10**12, 10**400, -0.0, 1e308, 5e-324, 1e-9),
            *(math.inf, -math.inf, math.nan, True, 0.9999999999999999),
        ]
    ),
    st.integers(),
    st.floats(),
)
texts = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "~",
                "null",
                "yes",
                "1e-3",
                "0x1F",
                "none",
                "auto",
                "*",
                "..",
                "/",
                "~nobody/x",
            ),
            *("a\nb", "a\x00b", "\x1b[2J", "\u202e", "é" * 400, "x" * 12_000, "{", "<<", "=", "🙈"),
            *("2020-01-01", "http://u:p@h", "ray://u:p@h:1", "../../etc", "[/bold]", "%s", "'\""),
        ]
    ),
    st.text(max_size=20),
)
scalars = st.one_of(st.none(), numbers, texts)
ranges = st.fixed_dictionaries(
    {"low": numbers, "high": numbers}, optional={"log": st.booleans() | scalars}
)
values = st.one_of(
    scalars,
    ranges,
    st.lists(scalars, max_size=4),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    st.dictionaries(st.integers() | texts, scalars, max_size=3),
)


@st.composite
def axes(draw: Callable[..., Any]) -> dict[str, Any]:
    """Choices for some of the axes that limit each other, each valid by itself."""
    chosen = {}
    for axis in draw(st.lists(st.sampled_from(list(AXES)), unique=True, max_size=len(AXES))):
        known = known_choices(axis)
        picked = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True))
        chosen[axis] = picked[0] if len(picked) == 1 and draw(st.booleans()) else picked
    return chosen


def known_choices(axis: str) -> list[str]:
    alias = Pruning.model_fields[axis].annotation.__args__[0]  # type: ignore[union-attr]
    return list(alias.__args__)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in nested data."""
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [p for key, value in items for p in [(*path, key), *places(value, (*path, key))]]


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def mutate(draw: Callable[..., Any], data: dict[str, Any]) -> None:
    """Changes one thing in the data, anywhere."""
    kind = draw(st.sampled_from(["value", "delete", "rename", "wrap", "axes", "field", "first"]))
    if kind == "axes":
        section = data.setdefault("pruning", {})
        if isinstance(section, dict):
            section.update(draw(axes()))
        return
    if kind == "field":
        section, field = draw(st.sampled_from(FIELDS)).split(".")
        if isinstance(data.setdefault(section, {}), dict):
            data[section][field] = draw(values)
        return
    if kind == "first":
        trial = st.dictionaries(
            st.sampled_from([*Pruning.model_fields, "x"]), values | st.sampled_from(["magnitude"])
        )
        if isinstance(data.setdefault("search", {}), dict):
            data["search"]["first"] = [{**draw(axes()), **draw(trial)}]
        return
    path = draw(st.sampled_from(places(data) or [()]))
    if not path:
        return
    parent, key = at(data, path[:-1]), path[-1]
    if kind == "value":
        parent[key] = draw(values)
    elif kind == "delete":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[draw(texts | st.just(f"{key}s"))] = parent.pop(key)
    else:
        parent[key] = draw(st.sampled_from([[parent[key]], {"low": parent[key]}, {key: parent}]))
        parent[key] = copy.deepcopy(parent[key]) if parent[key] != {key: parent} else [[]]


def yaml(data: Any) -> str:
    stream = io.StringIO()
    dumper = YAML()
    dumper.default_flow_style = False
    dumper.dump(data, stream)
    return stream.getvalue()


splices = st.sampled_from(
    [
        *(
            "&a ",
            "*a",
            "!!python/object/apply:os.system [id]",
            "!!binary aGk=",
            "!x ",
            "<<: {a: 1}",
        ),
        *(
            "\t",
            "\n---\n",
            "\n...\n",
            "%YAML 1.1\n",
            "{",
            "}",
            "[",
            "]",
            ": ",
            "- ",
            "\x00",
            "\x07",
        ),
        *(
            "? [a, b]\n: c\n",
            "\ufeff",
            "#",
            "'",
            '"',
            "|\n",
            "\r",
            "{" * 60 + "}" * 60,
            "[" * 5_000,
        ),
        *("0x" + "f" * 5_000, "9" * 5_000, "0o9", "1:30", "=", "\ud800", "environment: {id: x}\n"),
    ]
)


@st.composite
def files(draw: Callable[..., Any]) -> tuple[str, list[str]]:
    """The text of an experiment file, and overrides."""
    base = draw(st.sampled_from([*PRESETS.values(), *PRESETS.values(), SCHEMA, {}]))
    data = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, 3))):
        mutate(draw, data)
    try:
        text = yaml(data)
    except Exception:  # what no dumper writes is no file
        text = json.dumps(data, default=str, skipkeys=True)
    if draw(st.integers(0, 3)) == 0:
        where = draw(st.integers(0, len(text)))
        text = text[:where] + draw(splices) + text[where + draw(st.integers(0, 5)) :]
    changes = []
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        key = draw(st.sampled_from(FIELDS) | texts | st.sampled_from(["storage", "environment"]))
        value = draw(values.map(lambda value: json.dumps(value, default=str)) | texts | splices)
        changes.append(draw(st.sampled_from([f"{key}={value}", f"{key}.x={value}", key, value])))
    return text, changes


def accepted(text: str, changes: list[str]) -> Experiment | None:
    """The experiment, or None where it was refused as it should be."""
    try:
        experiment = experiment_file.parse(text, changes)
    except UserError as error:
        one_clear_line(str(error))
        return None
    return experiment


def one_clear_line(message: str) -> None:
    assert message.isprintable() and len(message) < LONGEST, message
    where, _, what = message.partition(": ")
    assert what and "u:p" not in message, message
    first = where.replace(" ", ".").split(".")[0]
    named = first in {*Experiment.model_fields, "experiment", "--set"}
    assert named or "unknown key" in message or "texts as its keys" in message, message
    assert "nput should" not in message, message


def consistent(experiment: Experiment, seed: int) -> None:
    """An accepted file can be stored, and a trial can be drawn from it."""
    stored = experiment_file.dump(experiment)
    assert "u:p@" not in stored
    again = experiment_file.parse(stored)
    assert again == experiment or experiment_file.dump(again) == stored  # NaN is not itself
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for trial in experiment.search.first:
        study.enqueue_trial(parameters(trial, experiment.pruning))
    layers = LAYERS if "searched" in as_choices(experiment.pruning.allocation) else ()
    for _ in range(len(experiment.search.first) + 1):
        plan = Space(experiment.pruning, layers)(study.ask())
        assert Plan.model_validate(plan.model_dump()) == plan
        assert plan.label


def fuzz(examples: int) -> None:
    """Runs that many files; fails where not a fair part was accepted, or was refused."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = {True: 0, False: 0}

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(files(), st.integers(0, 1_000))
    def run(file: tuple[str, list[str]], seed: int) -> None:
        experiment = accepted(*file)
        count[experiment is not None] += 1
        if experiment is not None:
            consistent(experiment, seed)

    run()
    assert min(count.values()) > examples / 20, count
    print(f"{count[True]} files accepted, {count[False]} refused")


def test_mutated_files() -> None:
    fuzz(100)


@pytest.mark.slow
def test_many_mutated_files() -> None:
    fuzz(400)


BUILT = [
    *("algorithm.name", "algorithm.training.lr", "algorithm.training.gamma"),
    *("algorithm.training.minibatch_size", "algorithm.training.train_batch_size_per_learner"),
    *("algorithm.training.grad_clip", "algorithm.training.replay_buffer_config"),
    *("algorithm.model.fcnet_hiddens", "algorithm.model.fcnet_activation"),
    *("algorithm.model.use_lstm", "algorithm.model.conv_filters", "algorithm.offline"),
    *("algorithm.model.head_fcnet_hiddens", "environment.id", "environment.config"),
    *("environment.modules", "environment.policies", "pruning.layers", "pruning.granularity"),
    *("baseline.checkpoint", "pruning.teacher", "resources.learners", "resources.gpus_per_learner"),
]
small = st.one_of(
    st.sampled_from([0, 1, -1, 8, 0.5, math.inf, math.nan, True, None, "relu", "filter", "2:4"]),
    st.text(max_size=8),
)
anything = st.recursive(
    small,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def fuzz_networks(examples: int) -> None:
    """As `fuzz`, with the checks that make the environment and the networks."""

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(["cartpole", "acrobot", "acrobot-dqn"]),
        st.lists(st.tuples(st.sampled_from(BUILT), anything), min_size=1, max_size=2),
        st.booleans(),
    )
    def run(preset: str, changed: list[tuple[str, Any]], trust: bool) -> None:
        changes = [
            f"{field}={json.dumps(value).replace('Infinity', '.inf').replace('NaN', '.nan')}"
            for field, value in changed
        ]
        try:
            check(experiment_file.load(preset, changes, trust))
        except UserError as error:
            one_clear_line(str(error))

    run()


def test_networks_of_mutated_files() -> None:
    fuzz_networks(20)


@pytest.mark.slow
def test_networks_of_many_mutated_files() -> None:
    fuzz_networks(100)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join(['*' + chr(97 + n)] * 9)}]}}\n"
    for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "alias"),
        (MERGES, "alias"),
        ("a: &a [*a]", "alias"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ("{" * 40_000, "nested deeper|not valid YAML"),
        ("- x\n" * 30_000, "longer than 100,000 characters"),
        ("environment: {id: !!python/name:os.system x}", "tag"),
        ("environment: {id: !!binary aGk=}", "tag"),
    ],
    ids=["bomb", "merges", "itself", "deep", "open", "long", "python", "binary"],
)
@pytest.mark.timeout(60)
def test_bombs_cost_nothing(text: str, message: str) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(UserError, match=message):
        experiment_file.parse(text)
    assert process.memory_info().rss - before < 100 * 2**20
