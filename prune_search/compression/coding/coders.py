"""Coders by name; open to one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prune_search.compression.coding import huffman, range_coding
from prune_search.compression.coding.matrices import Form, Matrix
from prune_search.registry import Registry

Encode: TypeAlias = "Callable[[Sequence[Matrix]], bytes]"
Decode: TypeAlias = "Callable[[bytes, Sequence[Form]], list[NDArray[np.int32]]]"


@dataclass(frozen=True)
class Coder:
    """How matrices of codes are written.

    Attributes:
        name: its name in ``CODERS``.
        encode: writes them, with all that a reader needs beside their forms.
        decode: reads them; raises ValueError where the bytes can't be what ``encode`` has written.
    """

    name: str
    encode: Encode
    decode: Decode


CODERS: Registry[Coder] = Registry("coder")


def register_coder(name: str, encode: Encode, decode: Decode) -> None:
    """Registers a coder.

    Raises:
        ValueError: the name is taken.
    """
    CODERS.add(name, Coder(name, encode, decode))


register_coder("range", range_coding.encode, range_coding.decode)
register_coder("huffman", huffman.encode, huffman.decode)
register_coder("rice", partial(huffman.encode, rice=True), partial(huffman.decode, rice=True))
CODERS.close()
