"""Emulated chips count what they run, and only what acts as Python does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from prune_search.artifacts.c.sizes import COMPILER
from prune_search.errors import UserError
from tests.commands import Command, refused
from tuners.benchmarks.devices import avr
from tuners.benchmarks.devices.board import BOARDS, EMULATOR
from tuners.benchmarks.devices.costs import Cost, costs
from tuners.benchmarks.devices.networks import Network
from tuners.benchmarks.devices.page import markdown

DENSE = Network(16, "relu", 0.0)
PRUNED = replace(DENSE, sparsity=0.9)
CHIPS = [board.chip for board in BOARDS]
WEIGHTS = 4 * 16 + 16 * 16 + 16 * 2


@pytest.fixture(scope="module")
def measured() -> list[Cost]:
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    cases = [(DENSE, "plain loops"), (DENSE, "c-int8"), (PRUNED, "c-int8")]
    said: list[str] = []
    found = costs(said.append, cases)
    if avr.lacking():
        assert said[0].startswith("ATmega328P is left out: needs ")
    else:
        assert [cost.chip for cost in found if cost.chip not in CHIPS] == [avr.CHIP] * 2
    return [cost for cost in found if cost.chip in CHIPS]


@pytest.mark.slow
def test_instructions_are_those_of_the_weights_that_are_there(measured: list[Cost]) -> None:
    for plain, dense, pruned in (measured[::2], measured[1::2]):
        assert dense.chip == pruned.chip and dense.instructions > 3 * WEIGHTS
        assert dense.instructions - pruned.instructions > 2 * 0.9 * WEIGHTS
        assert pruned.flash < dense.flash < plain.flash and pruned.ram == dense.ram < plain.ram
    floats, integers, _ = (cost.instructions for cost in measured[1::2])
    assert integers < floats / 3  # without a floating-point unit


@pytest.mark.slow
def test_a_policy_of_cartpoles_size_takes_few_bytes(measured: list[Cost]) -> None:
    """With what it needs of the C library, which on a Cortex-M3 is all arithmetic of floats."""
    small = Network(64, "tanh", 0.95)
    for cost in costs(lambda line: None, [(small, "c"), (small, "c-int8")]):
        if cost.chip in CHIPS:
            assert cost.flash <= 4096 and cost.ram <= 1024


@pytest.mark.slow
def test_the_page_has_the_ratios(measured: list[Cost]) -> None:
    chip = markdown(measured).partition("## Cortex-M3")[2]
    plain, dense, pruned = (cost.instructions for cost in measured[1::2])
    cells = [line.split(" | ") for line in chip.splitlines() if line.startswith("| 4-16-16-2")]
    assert [row[2] for row in cells] == [f"{count:,.0f}" for count in (plain, dense, pruned)]
    assert cells[2][3] == f"{pruned / dense:.2f}" and cells[1][4] == f"1/{plain / dense:.1f}"


class Wrong(NamedTuple):
    """A network whose C does something else."""

    network: Network

    def write(self, form: str, folder: Path) -> list[int]:
        return [1 - action for action in self.network.write(form, folder)]


@pytest.mark.slow
def test_other_actions_than_pythons_are_an_error(measured: list[Cost]) -> None:
    with pytest.raises(UserError, match=r"on Cortex-M4 .* takes the actions \[.*\], not \[.*\]"):
        costs(print, [(Wrong(DENSE), "c")])  # type: ignore[list-item]


def test_what_is_missing_is_one_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(command("benchmark", "devices", cwd=tmp_path))
    assert f"needs {COMPILER}" in said and "apt-get install gcc-arm-none-eabi" in said
    said = refused(command("benchmark", "devices", "--to", "a.md", cwd=tmp_path))
    assert "--to: must be a JSON file" in said
