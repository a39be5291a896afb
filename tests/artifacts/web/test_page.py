"""The page opens by a double click and plays; ONNX files run in browsers too."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from prune_search.artifacts.base import Actor, Material, open_artifact
from prune_search.artifacts.card import Measurement, Task, card_for
from prune_search.artifacts.targets import find_target
from prune_search.errors import UserError
from prune_search.policy.actions import Choice
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Dense
from prune_search.policy.reference import act
from tests.browser import CHROMIUM, chromium
from tests.describable import POLICIES, given, material

BROWSER = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Debian's chromium, {CHROMIUM}")
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js, `node`")
RUNTIME = "onnxruntime-web@1.30.0"
_WASM = "ort-wasm-simd-threaded"


def balancing(*weights: float) -> PolicyDescription:
    """A policy of CartPole that pushes to the right where weights times observation is above 0."""
    matrix = np.array([[0, 0, 0, 0], weights], np.float32)
    return PolicyDescription((4,), (), (Dense(matrix, None),), Choice((2,), (0,), single=True))


def cartpole(policy: PolicyDescription, folder: Path, **task: Any) -> Path:
    """Its page."""
    how = Measurement(seed=0, episodes=100, max_steps=500, aggregate="mean")
    card = card_for(
        policy,
        version="0",
        target="web",
        name="balancing",
        task=Task(id="CartPole-v1", **task),
        measurement=how,
    )
    seen = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    find_target("web").write(Material(policy, card, seen), folder / "web")
    return folder / "web" / "index.html"


# Episodes from the starts given, the page's random numbers being where each of them begins.
PLAY = """(starts) => {
  const random = Math.random, drawn = starts.flat().map((value) => (value + 0.05) / 0.1);
  Math.random = () => drawn.shift();
  try { return starts.map(episode); } finally { Math.random = random; }
}"""


@BROWSER
@pytest.mark.slow
@pytest.mark.parametrize("weights", [(0, 0, 1, 0), (0.05, 0.2, 1, 0.5)], ids=["falls", "stands"])
def test_the_page_plays_as_gymnasium_does(weights: tuple[float, ...], tmp_path: Path) -> None:
    """Its returns are those that the same policy earns there from the same starts."""
    pytest.importorskip("playwright")
    policy = balancing(*weights)
    path = cartpole(policy, tmp_path)
    episodes = [played_in_gymnasium(policy, seed) for seed in range(100)]
    earned = [total for _, total in episodes]
    with chromium() as page:
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('told').textContent.includes('step 5,')")
        played = page.evaluate(PLAY, [start for start, _ in episodes])
        own = np.array(page.evaluate("Array.from({length: 100}, episode)"))
        assert "balancing" in page.title() and page.locator("canvas").is_visible()
    assert played == earned
    if weights[3]:
        assert earned == [500] * 100 and (own == 500).all()
    else:
        assert np.std(earned) > 3 and own.std() > 3  # its own starts differ as well


def played_in_gymnasium(policy: PolicyDescription, seed: int) -> tuple[list[float], float]:
    """An episode's start and return."""
    environment = gymnasium.make("CartPole-v1")
    observation, _ = environment.reset(seed=seed)
    start = [float(value) for value in environment.unwrapped.state]  # type: ignore[attr-defined]
    total, ended = 0.0, False
    while not ended:
        action = int(act(policy, observation[None])[0][0])
        observation, reward, terminated, truncated, _ = environment.step(action)
        total, ended = total + float(reward), terminated or truncated
    return start, total


def material_of(policy: PolicyDescription) -> Material:
    card = card_for(policy, version="0", target="onnx", name="balancing")
    return Material(policy, card, np.zeros((1, 4), np.float32))


@BROWSER
@pytest.mark.slow
def test_what_the_page_does_not_know_is_shown(tmp_path: Path) -> None:
    """Actions on recorded observations are the reference's; numbers can be changed by hand."""
    pytest.importorskip("playwright")
    with chromium() as page:
        changed = cartpole(balancing(0, 0, 1, 0), tmp_path, config={"sutton_barto_reward": True})
        page.goto(changed.as_uri())
        assert page.locator("input").count() == 4
        for value, action in (("-1", "0"), ("1", "1")):
            page.locator("input").nth(2).fill(value)
            assert page.locator("#told").inner_text() == f"action {action}"
        for name in ("vector", "image", "frames", "recurrent"):
            path = tmp_path / name
            find_target("web").write(material(name, "web"), path)
            page.goto((path / "index.html").as_uri())
            seen, state, noise = given(name, 30)
            want, _ = act(POLICIES[name], seen, state, noise)
            rows = [each.reshape(30, -1).tolist() for each in (seen, state)]
            noises = [[]] * 30 if noise is None else noise.tolist()
            found = page.evaluate(
                "([seen, states, noises]) => seen.map((row, k) =>"
                " policy.step(row, Float32Array.from(states[k]), noises[k]))",
                [*rows, noises],
            )
            np.testing.assert_allclose(np.array(found).reshape(want.shape), want, atol=1e-5)
            page.locator("#next").click()
            assert page.locator("#ended").inner_text().startswith("observation 2 of ")
            assert "action" in page.locator("#told").inner_text()


@NODE
def test_what_is_no_observation_is_refused(tmp_path: Path) -> None:
    """By the script itself; and a script that was altered is refused in one line."""
    path = cartpole(balancing(0, 0, 1, 0), tmp_path).parent
    actor = Actor(open_artifact(path))
    assert [actor([0, 0, angle, 0]) for angle in (-1, 1)] == [0, 1]
    code = (
        "const policy = require('./policy.js'), act = policy.begin();"
        "for (const given of [[0, 0, 1, 0], [1, 2], [1, 2, NaN, 4]])"
        " try { console.log(act(given)) } catch (error) { console.log(error.message) }"
    )
    said = subprocess.run(
        ["node", "-e", code], cwd=path, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == [
        "1",
        "an observation is 4 numbers, got 2",
        "the observation must be finite numbers",
    ]
    script = path / "policy.js"
    script.write_text(script.read_text().replace('["Dense"', '["Dance"'))
    with pytest.raises(UserError, match=r"Node.js does not take .*policy.js': TypeError"):
        Actor(open_artifact(path))([0, 0, 1, 0])
    script.write_text("nothing")
    with pytest.raises(UserError, match="is no policy of target web"):
        open_artifact(path)


def test_without_node_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cartpole(balancing(0, 0, 1, 0), tmp_path).parent
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"measured by running it; install Node.js"):
        open_artifact(path)


@BROWSER
@pytest.mark.slow
def test_onnx_files_run_in_browsers(tmp_path: Path) -> None:
    """By onnxruntime-web, with ONNX Runtime's actions; the lines are those of the page."""
    pytest.importorskip("playwright")
    command = ["npm", "pack", RUNTIME, "--silent"]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=200)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs npm and its package {RUNTIME}: {error}")
    dist = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    [archive] = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as held:
        for name in (
            "ort.wasm.min.js",
            "ort-wasm-simd-threaded.mjs",
            "ort-wasm-simd-threaded.wasm",
        ):
            found = held.extractfile(f"package/dist/{name}")
            assert found is not None
            (dist / name).write_bytes(found.read())
    policy = balancing(0.05, 0.2, 1, 0.5)
    find_target("onnx").write(material_of(policy), tmp_path / "policy.onnx")
    text = (Path(__file__).parents[3] / "docs" / "exporting.md").read_text(encoding="utf-8")
    block = text.partition("onnxruntime-web")[2].partition("```html\n")[2].partition("```")[0]
    (tmp_path / "index.html").write_text(block)
    seen, state, _ = given("vector", 200)
    want, _ = open_artifact(tmp_path / "policy.onnx").step(seen, state[:, :0], None)
    with served(tmp_path) as address, chromium() as page:
        page.goto(address)
        page.wait_for_function("window.act !== undefined")
        asked = "async (rows) => { const all = []; for (const x of rows) all.push(await act(x));"
        actions = page.evaluate(f"{asked} return all; }}", seen.tolist())
    assert actions == want.tolist() and len(set(actions)) > 1


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a server of the folder's files."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
