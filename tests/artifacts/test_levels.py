"""Several sparsities of the same weights in one file: each acts as a file of its own would."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from prune_search.artifacts.base import Artifact, Material, open_artifact, stored_bytes
from prune_search.artifacts.card import Level, Measured
from prune_search.artifacts.targets import find_target
from prune_search.errors import UserError
from prune_search.policy.elastic import at_level, fewest, kept
from tests.artifacts.c.test_c_target import sanitized
from tests.describable import POLICIES, given, material


def elastic(name: str, target: str) -> Material:
    """A policy with three levels."""
    made = material(name, target)
    policy = find_target(target).held(made.described)
    most, least = kept(policy), fewest(policy)
    counts = [least, (least + most) // 2, most]
    told = Measured(value=1 / 3, low=-1.0, high=2.0)
    levels = [
        Level(
            kept=count,
            nonzero=at_level(policy, counts, number).nonzero,
            sparsity=0.5,
            returned=told,
        )
        for number, count in enumerate(counts)
    ]
    return Material(policy, made.card.model_copy(update={"levels": levels}), made.observations)


def actions(artifact: Artifact, name: str) -> list[np.ndarray]:
    seen, state, noise = given(name, 30)
    return list(artifact.step(seen, state, noise))


@pytest.mark.parametrize(
    ("target", "name"),
    [("c", "vector"), ("c", "image"), ("c", "recurrent"), ("packed", "image")],
)
def test_each_level_is_what_is_written_of_it_alone(target: str, name: str, tmp_path: Path) -> None:
    made, kind = elastic(name, target), find_target(target)
    path = tmp_path / f"policy{kind.suffix}"
    kind.write(made, path)
    artifact = open_artifact(path)
    assert artifact.card.levels == made.card.levels
    whole = actions(artifact, name)
    counts, sizes = [level.kept for level in made.card.levels], []
    for level in (2, 0, 1):
        alone = Material(
            at_level(made.described, counts, level), material(name, target).card, made.observations
        )
        apart = tmp_path / f"{level}{kind.suffix}"
        kind.write(alone, apart)
        sizes.append(stored_bytes(apart))
        artifact.set_level(level)
        same = zip(actions(artifact, name), actions(open_artifact(apart), name), strict=True)
        assert all(np.allclose(one, other, rtol=1e-5, atol=1e-5) for one, other in same)
    artifact.set_level(0)
    changed = zip(actions(artifact, name), whole, strict=True)
    assert any(not np.array_equal(one, other) for one, other in changed), "levels differ"
    assert stored_bytes(path) < sum(sizes)
    with pytest.raises(UserError, match=r"has levels 0 to 2, got 3"):
        artifact.set_level(3)


@pytest.mark.parametrize("name", ["image", "recurrent"])
def test_the_example_checks_each_level_itself(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    find_target("c").write(elastic(name, "c"), folder)
    count = 16 * POLICIES[name].action.size
    done = sanitized(folder, tmp_path)
    assert done.stdout == f"{count} of {count} actions are as they should be\n", done.stderr
    header = (folder / "policy.h").read_text()
    assert "#define POLICY_LEVELS 3\n" in header and "int policy_set_level(int level);" in header
    assert len(re.findall(r"Level \d: 50.0% sparse, \d+ numbers are not zero;", header)) == 3
    assert header.count("evaluation return 0.333333 [-1, 2].") == 3


def test_what_has_no_levels_says_so(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    find_target("c").write(material("vector", "c"), path)
    assert "LEVEL" not in (path / "policy.h").read_text() + (path / "policy.c").read_text()
    with pytest.raises(UserError, match="has no levels to choose among, got 0"):
        open_artifact(path).set_level(0)
