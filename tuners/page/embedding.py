"""The data in a report's file: one script of JSON, which no browser runs.

`{"format": 1, "version": ..., "records": ...}`, records being those of `Held`; or, where they are
large, `"deflated"`: the same JSON, deflated by zlib and in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prune_search.errors import UserError
from prune_search.plan.names import STORED
from tuners.page.held import Held

FORMAT = 1
"""Of the data; a higher one holds what this version does not know."""
_PLAIN = 700_000  # bytes of JSON beyond which it is deflated
_LARGEST = 200_000_000  # bytes of JSON that a file is trusted to hold
_OPENING = '<script type="application/json" id="prune-search-report">'
_DATA = re.compile(re.escape(_OPENING) + r"(.*?)</script>", re.DOTALL)
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # what could end a script


def embedded(one: Held) -> str:
    """The script that holds the data."""
    records = one.model_dump_json(exclude_defaults=True)
    head = {"format": FORMAT, "version": one.version}
    if len(records) > _PLAIN:
        packed = base64.b64encode(zlib.compress(records.encode(), 9)).decode()
        whole = json.dumps({**head, "deflated": packed})
    else:
        whole = f'{json.dumps(head)[:-1]}, "records": {records}}}'
    for sign, escaped in _ESCAPED.items():
        whole = whole.replace(sign, escaped)
    return f"{_OPENING}{whole}</script>"


def read(path: Path) -> Held:
    """The data of a report's file.

    Raises:
        UserError: it can't be read, is no report, or one of a newer version's.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"name: cannot read {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    found = _DATA.search(text)
    if found is None:
        raise UserError(
            f"name: {str(path)!r} is no report of prune-search: it holds no data of one"
        )
    try:
        whole = json.loads(found[1])
        if int(whole["format"]) > FORMAT:
            raise UserError(
                f"name: {str(path)!r} was written by prune-search {str(whole.get('version'))[:40]},"
                f" in format {int(whole['format'])}; this version reads format {FORMAT}: update"
                " prune-search"
            )
        return Held.model_validate_json(_records(whole), context=STORED)
    except (ValueError, KeyError, TypeError, zlib.error, binascii.Error) as error:
        why = "altered or cut off"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            if first["loc"]:
                why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(f"name: the data in {str(path)!r} can't be read: {why}") from None


def _records(whole: dict[str, Any]) -> str | bytes:
    if "deflated" not in whole:
        return json.dumps(whole["records"])
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(base64.b64decode(whole["deflated"]), _LARGEST)
    if unpacking.unconsumed_tail:
        raise ValueError("too large")
    return data
