"""The packed file gives back what went in, or is refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_search.compression.coding.entropy import entropy
from prune_search.compression.methods import METHODS
from prune_search.errors import UserError
from prune_search.packed.file import MAGIC, VERSION, pack, parts, read, unpack
from prune_search.packed.plain import to_plain
from prune_search.packed.quantizing import quantized_policy
from prune_search.policy.description import PolicyDescription
from prune_search.policy.elastic import at_level, kept
from prune_search.policy.reference import outputs
from tests.packed.policies import POLICIES, vector_policy

ABOUT = {"name": "cartpole t03/2", "returns": [500.0, -1.5], "task": {"id": "CartPole-v1"}}


def plain(policy: PolicyDescription) -> Any:
    """All of a policy, for comparisons bit for bit."""
    return to_plain(policy, lambda array: (array.shape, array.dtype.str, array.tobytes()))


@pytest.fixture(scope="module")
def data() -> bytes:
    return pack(quantized_policy(vector_policy(), "sharing", 3), ABOUT)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("kind", POLICIES)
def test_opens_as_the_quantized_policy_bit_for_bit(kind: str, name: str) -> None:
    policy = POLICIES[kind]()
    quantized = quantized_policy(policy, name, 4)
    found = unpack(pack(quantized, ABOUT))
    assert plain(found.policy) == plain(quantized.policy)
    assert (found.method, found.bits, found.about) == (name, 4, ABOUT)


@pytest.mark.parametrize("kind", POLICIES)
def test_units_that_change_places_change_nothing(kind: str) -> None:
    """Eight bits are near enough to see a unit that is read in another's place."""
    policy = POLICIES[kind]()
    seen = np.random.default_rng(1).standard_normal((50, *policy.observation_shape))
    if kind == "recurrent":
        seen[:, 2] = seen[:, 2].round()
    quantized = quantized_policy(policy, "uniform", 8).policy
    assert plain(quantized) != plain(policy)
    want, got = (outputs(each, seen)[0] for each in (policy, quantized))
    assert np.abs(got - want).max() < 0.03 * np.abs(want).max()


def test_a_quantized_policy_is_packed_as_it_is() -> None:
    for name in METHODS:
        once = quantized_policy(vector_policy(), name, 3)
        again = quantized_policy(once.policy, name, 3)
        assert pack(once, {}) == pack(again, {})


def test_every_byte_is_accounted_for(data: bytes) -> None:
    quantized = quantized_policy(vector_policy(), "sharing", 3)
    found = parts(quantized, data)
    assert sum(found.values()) == len(data) and min(found.values()) > 0
    assert found["codebooks"] == 2 * sum(len(group.floats) for group in quantized.groups)
    assert found["other numbers"] == 4 * 8  # the filter's


def test_the_order_of_units_is_not_paid_for() -> None:
    quantized = quantized_policy(vector_policy(hidden=128), "network_sharing", 3)
    codes = parts(quantized, pack(quantized, {}))["codes"]
    bound = entropy(quantized.matrices)
    assert bound.order > 1000
    assert codes < 1.02 * bound.bits / 8 < 0.98 * (bound.bits + bound.order) / 8


def test_what_is_refused(data: bytes, tmp_path: Path) -> None:
    newer = data[:3] + bytes([VERSION + 1]) + data[4:]
    for bad, message in (
        (b"", "not a packed policy"),
        (b"\x93NUMPY" + data, "not a packed policy"),
        (data[:7], "cut off"),
        (data[:-1], "cut off or altered"),
        (data + b"\0", "cut off or altered"),
        (newer, f"version {VERSION + 1}; this prune-search reads versions up to {VERSION}"),
    ):
        path = tmp_path / "bad.packed"
        path.write_bytes(bad)
        with pytest.raises(UserError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value) and "bad.packed" in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path / "none.packed")


def mutated(data: bytes, source: np.random.Generator) -> bytes:
    """The data with bytes changed, taken out, put in or doubled."""
    found = bytearray(data)
    for _ in range(source.integers(1, 4)):
        place = int(source.integers(len(found)))
        match source.integers(4):
            case 0:
                found[place] ^= int(source.integers(1, 256))
            case 1:
                del found[place : place + int(source.integers(1, 9))]
            case 2:
                found[place:place] = source.bytes(int(source.integers(1, 9)))
            case _:
                found[place:place] = found[place : place + 16]
    return bytes(found)


def fuzz(data: bytes, count: int, *, vouched: bool) -> int:
    """How many of so many mutations open; none may do anything else than that, or be refused.

    Args:
        data: a file's content.
        count: mutations.
        vouched: whether their checksums are right, as an adversary's would be.
    """
    source = np.random.default_rng(0)
    opened = 0
    for _ in range(count):
        bad = mutated(data, source)
        if vouched:
            body = bad[8:]
            bad = MAGIC + data[3:4] + struct.pack("<I", zlib.crc32(body)) + body
        try:
            found = unpack(bad)
        except ValueError as error:
            assert "\n" not in str(error)
            continue
        opened += 1
        if not vouched:
            assert plain(found.policy) == plain(unpack(data).policy)
        rows = np.zeros((1, *found.policy.observation_shape), np.float32)
        assert outputs(found.policy, rows)[0].shape == (1, found.policy.action.outputs)
    return opened


def test_mutations_are_refused_or_equal(data: bytes) -> None:
    assert fuzz(data, 300, vouched=False) < 10
    assert fuzz(data, 300, vouched=True) < 150


@pytest.mark.slow
@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("kind", POLICIES)
def test_ten_thousand_mutations_are_refused_or_equal(kind: str, vouched: bool) -> None:
    quantized = quantized_policy(POLICIES[kind](), "uniform" if kind == "image" else "sharing", 4)
    most = kept(quantized.policy)
    levels = [most // 2, most] if kind in ("vector", "recurrent") else []
    fuzz(pack(quantized, ABOUT, levels), 10_000 // len(POLICIES), vouched=vouched)


def test_a_header_that_grows_without_end_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = packer.compress(json.dumps({"policy": "a" * 2**22}).encode()) + packer.flush()
    body = struct.pack("<I", len(header)) + header
    with pytest.raises(ValueError, match="header"):
        unpack(MAGIC + bytes([1]) + struct.pack("<I", zlib.crc32(body)) + body)


def test_opens_without_torch_and_ray(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "policy.packed"
    path.write_bytes(data)
    code = (
        "import sys; from pathlib import Path; from prune_search.packed.file import read;"
        "read(Path(sys.argv[1])); assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


@pytest.mark.parametrize("kind", POLICIES)
def test_levels_of_one_file(kind: str) -> None:
    """Each is the policy that a file of its own would hold; the whole one costs a few bytes more,
    and files without levels are what they were."""
    quantized = quantized_policy(POLICIES[kind](), "network_sharing", 4)
    most = kept(quantized.policy)
    levels = (most // 2, 3 * most // 4, most)
    data, plainly = pack(quantized, ABOUT, levels), pack(quantized, ABOUT)
    found = unpack(data)
    assert (data[3], plainly[3]) == (2, 1) and len(data) <= len(plainly) + 24
    assert found.levels == levels and unpack(plainly).levels == ()
    assert plain(found.at(2)) == plain(found.policy) == plain(unpack(plainly).policy)
    for level, count in enumerate(levels):
        alone = quantized_policy(at_level(quantized.policy, levels, level), "network_sharing", 4)
        apart = unpack(pack(alone, {})).policy
        seen = np.abs(np.random.default_rng(1).standard_normal((20, *apart.observation_shape)))
        got, want = (outputs(each, seen)[0] for each in (found.at(level), apart))
        assert np.allclose(got, want, rtol=1e-5, atol=1e-5) and kept(apart) == count


def test_levels_that_are_none_are_refused(data: bytes) -> None:
    quantized = quantized_policy(vector_policy(), "sharing", 3)
    with pytest.raises(ValueError, match="levels must be"):
        pack(quantized, {}, [1, 2])
    whole = pack(quantized, {}, [kept(quantized.policy) - 1, kept(quantized.policy)])
    for changed in (b"\x01" + whole[4:], b"\x03" + whole[4:]):
        with pytest.raises(ValueError, match="version"):
            unpack(MAGIC + changed)
    with pytest.raises(ValueError, match="levels in a version"):
        unpack(MAGIC + b"\x02" + data[4:])
