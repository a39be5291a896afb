"""The packed file: what it holds, byte by byte, as docs/packed.md describes it."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from prune_search.compression.coding.coders import CODERS
from prune_search.compression.methods import method
from prune_search.compression.quantized import Floats
from prune_search.errors import UserError, one_line
from prune_search.packed.plain import from_plain, to_plain
from prune_search.packed.quantizing import (
    QuantizedPolicy,
    form_of,
    grouped,
    sorted_rows,
    with_values,
)
from prune_search.packed.units import free_layers
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.elastic import at_level, entries

MAGIC, VERSION, SUFFIX = b"PSP", 2, ".packed"
_WITHOUT_LEVELS = 1
"""The version of files that have none: those who read no other shall go on opening them."""
_FIXED = struct.Struct("<3sBII")  # magic, version, checksum of what follows, the header's length
_CODER = "range"
_LARGEST_HEADER, _MOST_NUMBERS = 2**20, 2**27

# What headers are likely to hold; the compressor refers to it. It belongs to both versions.
_WORDS = (
    b'"task":{"id":"","modules":[],"config":{},"wrappers":[]},"measurement":{"seed":0,"episodes":'
    b'100,"max_steps":10000,"aggregate":"mean","returned":{"aggregate":"iqm","iqm":-1,"low":-2,'
    b'"high":200.0,"episodes":50,"each":[]},"dense":null,"random":null,"notes":[],"version":"0.1.0'
    b'","target":"packed","name":" t00/0","observation_shape":[4],"state_size":0,"noise":"none",'
    b'"noise_size":0,"discrete":true,"action_shape":[],"parameters":67586,"nonzero":'
    b'["PolicyDescription",["Normalisation",["f",[4]],["f",[4]],10.0],["ChannelsLast"],["Flatten"]'
    b'["Convolution",["q",[32,4,8,8]],["q",[32]],[4,4],[0,0,0,0]],["Activation","relu"],'
    b'["Continuous",["f",[1]],["f",[1]],"scale",null],["LayerNorm",["Dense",["q",[256,256]],'
    b'["q",[256]]],["Activation","tanh"],["Dense",["q",[2,64]],["q",[2]]]],["Choice",[2],[0],true,'
    b'false],[]],"floats":[15,15,15],"method":"sharing","bits":4}'
)


@dataclass(frozen=True, eq=False)
class Packed:
    """What is in a file.

    Attributes:
        policy: bit for bit the quantized policy that was packed.
        method: how it was quantized, a key of `compression.METHODS`.
        bits: of a weight's code.
        about: whatever else was written with it, as JSON has it.
    """

    policy: PolicyDescription
    method: str
    bits: int
    about: dict[str, Any]
    levels: tuple[int, ...] = ()
    """Weights of each level, see `policy.elastic`; none where there is nothing to choose among."""

    def at(self, level: int) -> PolicyDescription:
        """The policy with a level's weights: 0, the sparsest, to `len(levels) - 1`, the whole."""
        return at_level(self.policy, self.levels, level)


def pack(quantized: QuantizedPolicy, about: dict[str, Any], levels: Sequence[int] = ()) -> bytes:
    """A file's content; `unpack` gives the same policy and the same `about`.

    Args:
        quantized: the policy.
        about: anything that JSON holds: the environment, returns, where it comes from.
        levels: how many weights each level has, see `policy.elastic.entries`.

    Raises:
        ValueError: numbers of weights that are none of levels.
    """
    if levels:
        entries(quantized.policy, levels)
    places = [place for group in grouped(quantized.policy, quantized.method) for place in group]
    weights = {id(getattr(quantized.policy.layers[one.layer], one.field)) for one in places}
    others: list[Array] = []

    def put(array: Array) -> list[Any]:
        if id(array) in weights:
            return ["q", list(array.shape)]
        others.append(array)
        return ["f", list(array.shape)]

    header = {
        "policy": to_plain(quantized.policy, put),
        "floats": [len(group.floats) for group in quantized.groups],
        "method": quantized.method.name,
        "bits": quantized.bits,
        **({"levels": list(levels)} if levels else {}),
        **({"about": about} if about else {}),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_WORDS)
    packed = compressor.compress(text) + compressor.flush()
    rest = b"".join(
        (
            *(group.floats.astype("<f2").tobytes() for group in quantized.groups),
            *(array.astype("<f4").tobytes() for array in others),
            CODERS[_CODER].encode(quantized.matrices),
        )
    )
    body = struct.pack("<I", len(packed)) + packed + rest
    version = VERSION if levels else _WITHOUT_LEVELS
    return _FIXED.pack(MAGIC, version, zlib.crc32(body), len(packed)) + body[4:]


def unpack(data: bytes) -> Packed:
    """What `pack` was given.

    Raises:
        ValueError: the data are not whole, were altered, are of a newer version, or are none of
            this kind; one line says which.
    """
    if data[:3] != MAGIC:
        raise ValueError("not a packed policy")
    if len(data) < _FIXED.size:
        raise ValueError("cut off")
    _, version, checksum, length = _FIXED.unpack_from(data)
    if not _WITHOUT_LEVELS <= version <= VERSION:
        raise ValueError(f"version {version}; this prune-search reads versions up to {VERSION}")
    if zlib.crc32(data[8:]) != checksum:
        raise ValueError("cut off or altered: its checksum is not that of its content")
    try:
        found = _unpacked(data[_FIXED.size :], length)
        if bool(found.levels) != (version == VERSION):
            raise ValueError("levels in a version that has none, or none where there are")
        return found
    except Exception as error:  # whatever a content does that only its checksum vouches for
        raise ValueError(f"its content is not that of a policy: {one_line(error)}") from None


def read(path: Path) -> Packed:
    """The policy in a file.

    Raises:
        UserError: it can't be read, or `unpack` refuses it.
    """
    try:
        return unpack(path.read_bytes())
    except OSError as error:
        raise UserError(f"file: cannot read {str(path)!r}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"file: {str(path)!r} can't be opened: {error}") from None


def parts(quantized: QuantizedPolicy, data: bytes) -> dict[str, int]:
    """Bytes of what `pack` has made of a policy, by what they are for."""
    header = _FIXED.unpack_from(data)[3]
    codebooks = 2 * sum(len(group.floats) for group in quantized.groups)
    codes = len(CODERS[_CODER].encode(quantized.matrices))
    known = {"frame": _FIXED.size, "header": header, "codebooks": codebooks, "codes": codes}
    return {**known, "other numbers": len(data) - sum(known.values())}


def _unpacked(data: bytes, length: int) -> Packed:
    header, rest = _header(data[:length]), data[length:]
    found = method(header["method"])
    numbers = _Numbers(rest)
    floats = [numbers.take("<f2", (count,)) for count in header["floats"]]
    shapes: list[tuple[int, ...]] = []

    def take(plain: Any) -> Array:
        kind, shape = plain[0], tuple(plain[1])
        if kind == "q":
            shapes.append(shape)
            return np.zeros(numbers.checked(shape), np.float32)
        return numbers.take("<f4", shape)

    empty = from_plain(header["policy"], take)
    groups = list(grouped(empty, found))
    places = [place for group in groups for place in group]
    if shapes != [getattr(empty.layers[one.layer], one.field).shape for one in places]:
        raise ValueError("arrays that are not quantized, or should not be")
    free = free_layers(empty)
    forms = [
        form_of(shape, sorted_rows(place, free))
        for place, shape in zip(places, shapes, strict=True)
    ]
    matrices = iter(CODERS[_CODER].decode(numbers.left, forms))
    policy, waiting = empty, iter(shapes)
    for group, values in zip(groups, floats, strict=True):
        symbols = tuple(next(matrices).reshape(next(waiting)) for _ in group)
        policy = with_values(policy, group, found.read(symbols, values).values())
    levels = tuple(header.get("levels", ()))
    if levels:
        entries(policy, levels)
    return Packed(policy, found.name, int(header["bits"]), header.get("about", {}), levels)


def _header(data: bytes) -> dict[str, Any]:
    reader = zlib.decompressobj(-15, zdict=_WORDS)
    text = reader.decompress(data, _LARGEST_HEADER)
    if not reader.eof or reader.unused_data:
        raise ValueError("its header is longer or shorter than it says")
    header: dict[str, Any] = json.loads(text)
    return header


class _Numbers:
    """Arrays, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self.left = data
        self._total = 0

    def checked(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape, if there is room for it."""
        if not shape or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"an array of shape {shape}")
        self._total += prod(shape)
        if self._total > _MOST_NUMBERS:
            raise ValueError(f"more than {_MOST_NUMBERS:,} numbers")
        return shape

    def take(self, kind: str, shape: tuple[int, ...]) -> Floats:
        size = prod(self.checked(shape)) * np.dtype(kind).itemsize
        taken, self.left = self.left[:size], self.left[size:]
        return np.frombuffer(taken, kind).reshape(shape).astype(np.float32)
