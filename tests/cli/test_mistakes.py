"""The mistakes of users: each is answered in one line, with status 2 and the name that was meant.

None of them starts Ray; those that need RLlib to be known are in `test_cli`.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Command, refused
from tests.studies import make_study

KINDS: dict[str, dict[str, str]] = {
    "commands and options": {
        "shwo cartpole": "no such command 'shwo'; did you mean 'show'",
        "benchmark maks": "did you mean 'masks'",
        "show": "missing argument 'NAME|FILE'; see prune-search show --help",
        "evaluate cartpole": "missing argument 'POINT'",
        "show cartpole --plto x.png": "no such option: --plto (Possible options: --plot)",
        "show cartpole t00/1": "unexpected extra argument (t00/1)",
        "ui --port 70000": "invalid value for '--port': must be at most 65535",
        "ui --port x": "'--port': must be a whole number",
        "evaluate cartpole t00/1 --episodes 1": "'--episodes': must be at least 2",
        "benchmark": "missing command",
    },
    "names of studies": {
        "show cartpol": "name: no study 'cartpol' in {storage}, did you mean cartpole?",
        "show Cartpole": "did you mean cartpole? there are: cartpole",
        "resume zzz": "no study 'zzz' in {storage}; there are: cartpole",
        "evaluate cartpol t00/1": "did you mean cartpole?",
        "restore cartpol baseline": "did you mean cartpole?",
        "compact cartpol t00/1": "did you mean cartpole?",
        "benchmark wall cartpol": "did you mean cartpole?",
        "show ../cartpole": "name: must be one folder name",
        "sensitivity cartpoel": "unknown 'cartpoel', did you mean cartpole?",
    },
    "names of points": {
        "evaluate cartpole t0/1": "point: unknown 't0/1', did you mean t00/1? known are:",
        "restore cartpole t00-1": "did you mean t00/1?",
        "restore cartpole basline": "did you mean baseline?",
        "compact cartpole T00/2": "did you mean t00/2?",
        "compact cartpole t09/9": "point: unknown 't09/9'",
        "evaluate cartpole ''": "point: unknown ''; known are: baseline, t00/1",
    },
    "presets and files": {
        "run cartpol": "experiment: unknown 'cartpol', did you mean cartpole? known are: acrobot",
        "run Acrobot": "did you mean acrobot?",
        "presets lunarlandr": "preset: unknown 'lunarlandr', did you mean lunarlander?",
        "run mien.yaml": "experiment: no file 'mien.yaml', did you mean mine.yaml?",
        "run no/such.yaml": "experiment: no file 'no/such.yaml'",
        "run folder.yaml": "no file 'folder.yaml'",
        "run broken.yaml": "broken.yaml: not valid YAML",
        "run list.yaml": "list.yaml: must be a mapping of sections, got a list",
        "run binary.yaml": "cannot read 'binary.yaml': not UTF-8",
        "run empty.yaml": "empty.yaml: must be a mapping of sections, got nothing",
    },
    "--set": {
        "run cartpole --set search.trials 10": "got 'search.trials'; write --set search.trials=VAL",
        "run cartpole --set 'search.trials 10'": "write --set search.trials=10",
        "run cartpole --set search.trials": "write --set search.trials=VALUE",
        "run cartpole --set =3": "--set: must be key.path=value, got '=3'",
        "run cartpole --set search..trials=3": "--set: must be key.path=value",
        "run cartpole --set search.trials=[1": "--set search.trials: not valid YAML",
        "run cartpole --set environment.id.x=1": "'id' is not a section",
        "benchmark search --set search.seed 3": "write --set search.seed=VALUE",
    },
    "keys": {
        "run cartpole --set serach.trials=9": "serach: unknown key, did you mean search?",
        "run cartpole --set search.trails=9": "search.trails: unknown key, did you mean trials?",
        "run cartpole --set trials=9": "trials: unknown key, did you mean search.trials?",
        "run cartpole --set pruning.trials=9": "did you mean search.trials?",
        "run cartpole --set pruning.sparsty=0.9": "pruning.sparsty: unknown key; known are:",
        "run cartpole --set search.stopping.confidnce=0.9": "did you mean confidence?",
        "run cartpole --set 'search.first=[{ratoi: 0.9}]'": "did you mean ratio?",
        "run cartpole --set 'environment.wrappers=[{nam: x}]'": "did you mean name?",
    },
    "names of values": {
        "run cartpole --set pruning.criterion=magntude": "did you mean magnitude?",
        "run cartpole --set 'pruning.criterion=[fischer, random]'": "did you mean fisher?",
        "run cartpole --set pruning.granularity=nueron": "did you mean neuron?",
        "run cartpole --set pruning.schedule=Cubic": "unknown 'Cubic', did you mean cubic?",
        "run cartpole --set search.sampler=tpee": (
            "did you mean tpe? known are: auto, curves, gp, grid"
        ),
        "run cartpole --set search.objectives=[retrun]": "did you mean return?",
        "run cartpole --set search.scheduler.name=ashaa": "did you mean asha?",
        "run cartpole --set evaluation.actions=gredy": "did you mean greedy?",
        "sensitivity cartpole --criterion magntude": "--criterion: unknown 'magntude', did",
        "sensitivity cartpole --granularity filtr": "did you mean filter?",
    },
    "types": {
        "run cartpole --set search.trials=many": "search.trials: must be a whole number, got",
        "run cartpole --set search.trials=1.5": "must be a whole number, got 1.5",
        "run cartpole --set pruning.ratio=high": "pruning.ratio: must be a number, got 'high'",
        "run cartpole --set pruning.ratio=null": "must be a number, got null",
        "run cartpole --set baseline.control=maybe": "must be true or false, got 'maybe'",
        "run cartpole --set environment.id=3": "environment.id: must be a text, got 3",
        "run cartpole --set search.objectives=return": "must be a list, such as [return]",
        "run cartpole --set search=5": "search: must be a mapping of keys to values, got 5",
        "run cartpole --set baseline.until_return=.inf": "must be a finite number, got inf",
    },
    "ranges": {
        "run cartpole --set search.trials=0": "search.trials: must be at least 1, got 0",
        "run cartpole --set pruning.ratio=1.5": "pruning.ratio: must be below 1, got 1.5",
        "run cartpole --set 'pruning.ratio=[0.9, 95]'": "must be below 1, got 95",
        "run cartpole --set 'pruning.ratio={low: 0.9, high: 0.5}'": "low must be below high",
        "run cartpole --set pruning.threshold=0": "pruning.threshold: must be above 0, got 0",
        "run cartpole --set search.seeds=1000": "search.seeds: must be at most 100, got 1000",
        "run cartpole --set pruning.criterion=[]": "pruning.criterion: must not be empty",
        "run cartpole --set 'pruning.ratio=[0.9, 0.9]'": "choices must differ, got 0.9 twice",
    },
    "what does not go together": {
        "run cartpole --set pruning.criterion=dormant": "it scores whole units",
        "run cartpole --set pruning.rewind=initial": "it follows each pruning",
        "run cartpole --set pruning.start=0.9": "pruning.end: must lie above pruning.start",
        "run cartpole --set evaluation.final_seed=0": "must differ from evaluation.seed",
        "run cartpole --set search.scheduler.name=asha": "goes by one objective",
        "run cartpole --set 'search.objectives=[return, return]'": "each must be named once",
        "sensitivity cartpole --criterion l1_norm": "allowed are neuron, filter",
    },
    "places": {
        "show cartpole --plot front.bmp": "--plot: must end in .png, .svg, .pdf or .html",
        "show cartpole --plot no/front.png": "--plot: no folder 'no'",
        "show page.html": "name: 'page.html' is no report of prune-search",
        "show later.html": "by prune-search 9.9, in format 7; this version reads format 1: update",
        "show cut.html": "name: the data in 'cut.html' can't be read: altered or cut off",
        "show no.html": "name: no file 'no.html', and no study of this name in",
        "report cartpole --out x.pdf": "--out: must end in .html, got 'x.pdf'",
        "report cartpole --out no/x.html": "--out: no folder 'no'",
        "report cartpole --lang fr": "--lang: unknown 'fr'; known are: en, zh",
        "restore cartpole baseline --to studies": "--to: 'studies' exists",
        "list --storage mine.yaml": "storage: no folder 'mine.yaml'",
        "show cartpole --storage nowhere": "there are: none",
        "benchmark search --to no/x.json": "--to: no folder 'no'",
        "benchmark search --to x.png": "--to: must be a JSON file, got 'x.png'",
        "benchmark methods --to no/x.md": "--to: no folder 'no'",
        "robustness cartpole --to no/x.json": "--to: no folder 'no'",
        "robustness cartpole --to folder.yaml": "--to: cannot write 'folder.yaml': Is a directory",
        "ui --storage nowhere": "no MLflow store",
    },
    "addresses": {
        "run cartpole --address 127.0.0.1:{dead}": "no Ray cluster at '127.0.0.1:{dead}'",
        "run cartpole --address nonsense": "must be auto, HOST:PORT or ray://HOST:PORT",
        "run cartpole --address ray://127.0.0.1:{dead}": "no Ray cluster at 'ray://127.0.0.1:",
        "run cartpole --address me:secret@host:1": "without user, password or token",
        "run cartpole --set tracking.uri=http://u:p@host": "without user, password or token",
        "ui --uri http://127.0.0.1:{dead}": "MLflow at http://127.0.0.1:{dead}: no answer: connect",
        "ui --uri http://u:p@host": "without user, password or token",
    },
}


@pytest.fixture(scope="module")
def dead() -> Iterator[int]:
    """A port that nothing listens on, and that nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's working folder, with a study and some files."""
    place = tmp_path_factory.mktemp("user")
    make_study(place / "studies", trials=1)
    (place / "folder.yaml").mkdir()
    (place / "mine.yaml").write_text("environment: {id: CartPole-v1}\n")
    (place / "broken.yaml").write_text("environment: {id: [\n")
    (place / "list.yaml").write_text("- 1\n")
    (place / "empty.yaml").write_text("")
    (place / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (place / "page.html").write_text("<!DOCTYPE html><script>let data = {}</script>")
    opening = '<script type="application/json" id="prune-search-report">'
    (place / "later.html").write_text(f'{opening}{{"format": 7, "version": "9.9"}}</script>')
    (place / "cut.html").write_text(f'{opening}{{"format": 1, "deflated": "eJxT"}}</script>')
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes(command: Command, folder: Path, dead: int, kind: str) -> None:
    before = sorted(folder.rglob("*"))
    for line, message in KINDS[kind].items():
        arguments = shlex.split(line.replace("{dead}", str(dead)))
        said = refused(command(*arguments, cwd=folder))
        wanted = message.replace("{dead}", str(dead)).replace("{storage}", str(folder / "studies"))
        assert wanted in said, (line, said)
        for inside in ("Input should", "<class", "Traceback", "object at 0x", "pydantic"):
            assert inside not in said, (line, said)
    assert sorted(folder.rglob("*")) == before


def test_there_are_enough_of_each_kind() -> None:
    assert all(len(lines) >= 6 for lines in KINDS.values())
    assert sum(map(len, KINDS.values())) >= 33 + 5 * len(KINDS)
