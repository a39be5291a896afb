"""Whether there is room for what a study asks for, known before anything waits for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment, Resources

Amounts = Mapping[str, float]
"""Resources by Ray's names: CPU, GPU."""

_LAUNCHED = (
    "ray.io/node-group"  # label of a node that a launcher or autoscaler of Ray's has started
)
_ENOUGH = 1e-6  # fractions of a GPU need not add up exactly


def trial_resources(experiment: Experiment) -> Any:
    """What RLlib asks for to run one trial: a placement group's bundles."""
    from prune_search.rllib.configuration.algorithms import algorithm_config

    config = algorithm_config(experiment, seed=0)
    assert config.algo_class is not None
    return config.algo_class.default_resource_request(config)


def here() -> list[Amounts]:
    """What there is without an address: what a Ray has, or would have, that is started here."""
    import ray
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    if ray.is_initialized():
        return cluster()
    return [ResourceAndLabelSpec().resolve(is_head=True).to_resource_dict()]


def cluster() -> list[Amounts]:
    """What each node of the cluster has that this process is connected to."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def may_grow() -> bool:
    """Whether Ray's launcher has started the cluster, or KubeRay: more nodes may come on demand."""
    import ray

    return any(node["Alive"] and node.get("Labels", {}).get(_LAUNCHED) for node in ray.nodes())


def check_gpus(resources: Resources) -> None:
    """What can be refused at once, before RLlib is imported; else as `check_room`.

    How many CPUs a trial takes, RLlib's own settings may change; how many GPUs, they can't lessen.
    """
    each, learners = resources.gpus_per_learner, resources.learners
    if each and not resources.address:
        main: Amounts = {} if learners else {"GPU": each}
        others = [*[{}] * resources.env_runners, *[{"GPU": each}] * learners]
        check_room([main, *others], resources, here())


def check_room(bundles: Sequence[Amounts], resources: Resources, nodes: Sequence[Amounts]) -> None:
    """Refuses what would wait for ever: the baseline and a trial need the same.

    Args:
        bundles: what each process of a trial needs: its own, its env runners', its learners'.
        resources: the experiment's.
        nodes: what each node has.

    Raises:
        UserError: not all processes of a trial find a place; the message names the field, what was
            asked for and what there is.
    """
    if fits(bundles, nodes):
        return
    lacking = _lacking(bundles, nodes)
    where = "the cluster" if resources.address else "this machine"
    asked, have = _total(bundles)[lacking], _total(nodes)[lacking]
    if lacking == "GPU":
        field = "resources.gpus_per_learner"
        remedy = "set it to 0 to train on CPUs" if not have else ""
    else:
        runners, learners = resources.env_runners, resources.learners
        named = {"resources.env_runners": runners, "resources.learners": learners}
        field = " and ".join(name for name, value in named.items() if value) or "resources"
        fewer = runners - int(asked - have)
        remedy = f"set env_runners to at most {fewer}" if 0 <= fewer < runners else ""
    text = f"{field}: the baseline and each trial need {_words(lacking, asked)}"
    parts = _parts(bundles, resources, lacking)
    text += f" ({parts})" if parts else ""
    text += f", and {where} has {_words(lacking, have)}"
    if have >= asked:
        text += f", on {len(nodes)} nodes none of which has enough"
    raise UserError(text + (f"; {remedy}" if remedy else ""))


def waiting_for(request: Any) -> str:
    """What a trial has to wait for where there is, or may be, room for it; empty if nothing."""
    import ray

    bundles, nodes = request.bundles, cluster()
    need, have = _total(bundles), _total(nodes)
    if not fits(bundles, nodes):
        asked, has = (", ".join(_words(n, of[n]) for n in need if need[n]) for of in (need, have))
        return f"waiting for the cluster to grow: a trial needs {asked}, and it has {has}"
    free = ray.available_resources()
    taken = [name for name in need if need[name] - free.get(name, 0) > _ENOUGH]
    if not taken:
        return ""
    parts = (
        f"{_words(name, need[name])}, and {free.get(name, 0):g} of {have[name]:g} are free"
        for name in taken
    )
    return f"waiting for room: a trial needs {'; '.join(parts)}"


def fits(bundles: Sequence[Amounts], nodes: Sequence[Amounts]) -> bool:
    """Whether every bundle finds a node: the largest first, each on the first that has room.

    Args:
        bundles: what processes need, each on one node.
        nodes: what nodes have.
    """
    left = [dict(node) for node in nodes]
    for bundle in sorted(bundles, key=lambda b: (b.get("GPU", 0), b.get("CPU", 0)), reverse=True):
        asked = {name: amount for name, amount in bundle.items() if amount}
        for node in left:
            if all(node.get(name, 0) - amount > -_ENOUGH for name, amount in asked.items()):
                for name, amount in asked.items():
                    node[name] -= amount
                break
        else:
            return False
    return True


def room(request: Any) -> int:
    """Trials that the cluster has room for at a time."""
    have, need = _total(cluster()), request.required_resources
    return min(int(have[name] / amount + _ENOUGH) for name, amount in need.items() if amount)


def concurrency(experiment: Experiment, request: Any) -> int:
    """Trials at a time: as configured, or as many as the cluster has room for."""
    # A cluster that grows on demand may have no room yet.
    return experiment.resources.concurrent_trials or max(1, room(request))


def _lacking(bundles: Sequence[Amounts], nodes: Sequence[Amounts]) -> str:
    """The resource that there is too little of; the scarcer one where it is both, GPUs first."""
    for name in sorted(_total(bundles), key=lambda name: name != "GPU"):
        alone = [{name: bundle.get(name, 0)} for bundle in bundles]
        if not fits(alone, nodes):
            return name
    return "CPU"


def _total(amounts: Sequence[Amounts]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in amounts:
        for name, amount in one.items():
            total[name] += amount  # type: ignore[assignment]  # fractions of GPUs
    return total


def _parts(bundles: Sequence[Amounts], resources: Resources, name: str) -> str:
    """Which processes ask for how much, where they are several."""
    main, *others = (bundle.get(name, 0) for bundle in bundles)
    runners, learners = others[: resources.env_runners], others[resources.env_runners :]
    parts = [
        ("its own process", main),
        ("its env runners", sum(runners)),
        ("its learners", sum(learners)),
    ]
    told = [f"{amount:g} for {who}" for who, amount in parts if amount]
    return ", ".join(told) if len(told) > 1 else ""


def _words(name: str, amount: float) -> str:
    """`1 GPU`, `3 CPUs`, `0.5 GPU`, `no GPU`."""
    if not amount:
        return f"no {name}"
    return f"{amount:g} {name}{'s' if amount > 1 and name in ('CPU', 'GPU') else ''}"
