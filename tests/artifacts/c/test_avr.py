"""The same source on an emulated AVR: constants stay in flash, and actions are the host's."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_search.artifacts.c.sizes import cross_compiled
from prune_search.artifacts.c.target import CTarget, IntegerCTarget
from tests.artifacts.c.integer_policies import POLICIES as INTEGERS
from tests.artifacts.c.integer_policies import material
from tests.artifacts.test_levels import elastic
from tests.describable import POLICIES
from tuners.benchmarks.devices import avr
from tuners.benchmarks.devices.networks import Network

pytestmark = pytest.mark.skipif(avr.lacking() is not None, reason=str(avr.lacking()))


def check(folder: Path, place: Path) -> str:
    """What the example of an exported folder says there."""
    example = folder / "main.c"
    example.write_text(example.read_text().replace("int main(void)", "int measured(void)"))
    [said] = avr.run(avr.build([folder / "policy.c", example], place))
    return said


@pytest.mark.parametrize("name", ["recurrent", "categories"])
def test_the_example_checks_itself(name: str, tmp_path: Path) -> None:
    """At each of three levels, and with a state."""
    folder, count = tmp_path / "policy", 16 * POLICIES[name].action.size
    CTarget().write(elastic(name, "c"), folder)
    assert check(folder, tmp_path) == f"{count} of {count} actions are as they should be"


def test_integers_check_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    policy = INTEGERS["vector-discrete-filter"]
    IntegerCTarget().write(material(policy), folder)
    count = 16 * policy.action.size
    assert check(folder, tmp_path) == f"{count} of {count} actions are as they should be"


@pytest.mark.parametrize(("form", "flash"), [("c", 4096), ("c-int8", 4096)])
def test_a_policy_of_cartpoles_size_leaves_memory_free(
    form: str, flash: int, tmp_path: Path
) -> None:
    """Of 2 KiB of RAM it takes its buffers alone: no constant is copied there."""
    folder = tmp_path / "policy"
    Network(64, "tanh", 0.95).write(form, folder)
    found = cross_compiled(folder, avr.COMPILER, avr.SIZE, avr.OPTIONS)
    assert found["flash"] < flash and found["ram"] <= 512 and 0 < found["stack"] < 100
