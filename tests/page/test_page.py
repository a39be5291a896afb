"""The report's page: one file that needs nothing else, for every kind of study."""

from __future__ import annotations

import io
import re
import shutil
import string
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from prune_search.experiment.schema import Environment
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord, TrialRecord
from tests.browser import CHROMIUM, chromium
from tests.commands import Command
from tests.studies import (
    BASELINE,
    STARTED,
    end_study,
    make_control,
    make_experiment,
    make_point,
    make_study,
    make_trial,
    returned,
)
from tuners.display.tables import renderables
from tuners.page.embedding import read
from tuners.page.held import held, report_of_held
from tuners.page.page import html, write
from tuners.page.words import LANGUAGES, words
from tuners.report.as_json import to_json
from tuners.report.study_report import Asked, StudyReport, report, report_of

IMPORTANCES = {"schedule": 0.7, "criterion": 0.2, "ratio": 0.1}
HOSTILE = '</script><img src="http://bad" onerror=x>&amp;'


class Page(HTMLParser):
    """What a page consists of, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = ("src", "href", "xlink:href", "srcset", "data", "poster", "action")
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            if name in loading and not (value or "").startswith("#"):
                self.loads.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.text += data


def study(folder: StudyFolder) -> StudyReport:
    found = report(folder, make_experiment())
    found.__dict__["importances"] = IMPORTANCES  # as if Optuna's database were there
    return found


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study of ten trials, one of them failed, with a dense control, re-evaluated."""
    folder = make_study(tmp_path_factory.mktemp("page"), trials=9)
    folder.write_trial(make_trial(9, rounds=2, state="failed"))
    end_study(folder)
    record, final = folder.study(), folder.final()
    assert record is not None and final is not None
    folder.write_study(record.model_copy(update={"control": make_control(499)}))
    folder.write_final(final.model_copy(update={"control": returned(497, 100)}))
    return folder


def shown(found: StudyReport, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in renderables(found, width):
        console.print(part)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_file_that_loads_nothing(ended: StudyFolder, language: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    size = write(study(ended), ended, first, language)
    again = StudyFolder(ended.path.parent, ended.name)
    assert write(study(again), again, second, language) == size < 2_000_000
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == [] and page.tags.count("script") == 1
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text and f'lang="{words(language)("html_lang")}"' in text
    names = ("found", "front", "network", "layers", "course", "mattered", "trials", "weigh")
    for name in (*names, "again"):
        assert page.text.count(words(language)(name)) >= 1
    assert "{" not in re.sub(r"(?s)<(style|script|details).*?</\1>", "", text)
    assert words(language)("mattered_few") in page.text
    best = [item.point.name for item in study(ended).front]
    titles = re.findall(r"<use [^>]*><title>(\S+) ", text)
    assert set(best) <= set(titles) and len(titles) == 9 * 6 + 2
    for trial in ended.trials():
        assert text.count(f'id="return-{trial.name}"') == 1
    assert "prune-search evaluate cartpole" in page.text


def test_languages_say_the_same() -> None:
    def figures(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    english = words("en").texts
    for language in LANGUAGES:
        texts = words(language).texts
        assert list(texts) == list(english)
        for name, text in texts.items():
            assert text and figures(text) == figures(english[name]), (language, name)


def test_what_the_file_holds_shows_the_same_tables(
    ended: StudyFolder, command: Command, tmp_path: Path
) -> None:
    found = study(ended)
    write(found, ended, tmp_path / "x.html")
    assert shown(report_of_held(read(tmp_path / "x.html"))) == shown(found)
    storage = ("--storage", str(ended.path.parent))
    wrote = command("report", "cartpole", "--lang", "zh", *storage, cwd=tmp_path)
    assert wrote.out.startswith("wrote cartpole.html: ") and wrote.status == 0
    for options in ((), ("--json",)):
        told = command("show", "cartpole.html", *options, *storage, cwd=tmp_path)
        assert told.out == command("show", "cartpole", *options, *storage, cwd=tmp_path).out
        assert told.status == 0 and "t00/1" in told.out + "t00/1"


def test_names_of_others_are_text_and_nothing_else(ended: StudyFolder, tmp_path: Path) -> None:
    trials = [
        one.model_copy(update={"plan": one.plan.model_copy(update={"criterion": HOSTILE})})
        for one in ended.trials()
    ]
    trials[0] = trials[0].model_copy(update={"reason": HOSTILE})
    experiment = make_experiment().model_copy(update={"environment": Environment(id=HOSTILE)})
    found = report_of(
        tmp_path / HOSTILE.replace("/", "-"),
        Asked.of(experiment),
        ended.study(),
        trials,
        ended.final(),
        lambda: {HOSTILE: 1.0},
    )
    one = held(found, ended).model_copy(update={"experiment": HOSTILE, "networks_missing": HOSTILE})
    text = html(one)
    page = Page(text)
    assert page.loads == [] and page.tags.count("script") == 1 and "img" not in page.tags
    assert page.text.count(HOSTILE) > 5
    (tmp_path / "x.html").write_text(text, encoding="utf-8")
    again = read(tmp_path / "x.html")
    assert again == one and again.experiment == HOSTILE


@pytest.mark.slow
def test_a_thousand_trials_fit_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    record = StudyRecord(name="many", started=STARTED, baseline=BASELINE, wall_s=9_000.0)
    trials = [make_trial(number) for number in range(1_000)]
    folder, asked = StudyFolder(tmp_path, "many"), Asked.of(make_experiment())
    folder.write_study(record)
    found = report_of(folder.path, asked, record, trials, None, lambda: IMPORTANCES)
    size = write(found, folder, tmp_path / "many.html")
    assert size <= 2_000_000
    said = Page((tmp_path / "many.html").read_text(encoding="utf-8")).text
    t, all_points = words("en"), f"{6_000 - len(found.front):,}"
    assert re.search(t("front_thinned", shown=r"\d+", all=all_points), said)
    assert t("trials_thinned", shown=60, all="1,000").replace("`", "") in said
    assert t("episodes_left_out") in said and t("mattered_many") in said
    again = report_of_held(read(tmp_path / "many.html"))
    assert [item.than_dense for item in again.front] == [item.than_dense for item in found.front]
    assert [p.returned.value for p in again.points] == [p.returned.value for p in found.points]


def test_a_front_s_retention_is_the_same_in_the_terminal_on_the_page_and_in_json(
    tmp_path: Path,
) -> None:
    """That on the final seeds, where it is measured there: what a recommendation goes by."""
    folder = make_study(tmp_path)
    end_study(folder)
    found = report(folder, make_experiment())
    terminal, page = shown(found), Page(html(held(found, folder), "en")).text
    for item in to_json(found)["front"]:
        assert item["final_retention"] != pytest.approx(item["retention"], abs=1e-3)
        kept = f"{item['final_retention']:.1%}"
        line = next(line for line in terminal.splitlines() if line.startswith(item["point"]))
        assert kept in line and kept in page
        assert f"{item['retention']:.1%}" not in line


@pytest.mark.parametrize("language", LANGUAGES)
def test_studies_that_have_little_to_show(language: str, tmp_path: Path) -> None:
    """Each has all of its sections, and says what is not there."""
    t = words(language)

    def page(name: str, baseline: bool, trials: list[TrialRecord]) -> str:
        folder = StudyFolder(tmp_path, name)
        dense = BASELINE if baseline else None
        folder.write_study(StudyRecord(name=name, started=STARTED, baseline=dense))
        for trial in trials:
            folder.write_trial(trial)
        text = html(held(report(folder, make_experiment()), folder), language)
        assert Page(text).loads == []
        return Page(text).text

    assert t("found_no_baseline") in page("begun", False, [])
    said = page("no-trial", True, [])
    for name in ("found_nothing", "front_none", "network_none", "layers_none", "course_none"):
        assert t(name) in said
    assert t("trials_none") in said and t("mattered_none", results=0) in said
    failed = page("failed", True, [make_trial(0, rounds=0, state="failed")])
    assert t("found_nothing") in failed and "NaN in the learner's weights" in failed
    one = page("one", True, [make_trial(0)])
    assert t("dense_baseline") in one and t("mattered_none", results=1) in one
    assert t("network_missing", why="")[:4] in one and "no checkpoint is here" in one
    told = dict.fromkeys(("returned", "dense", "dense_returned", "verdict"), "")
    assert t("found_search", **told)[-20:] in one
    assert t("found_no_gain") not in one
    worthless = BASELINE.model_copy(update={"returned": returned(9)})
    folder = StudyFolder(tmp_path, "one")
    folder.write_study(StudyRecord(name="one", started=STARTED, baseline=worthless))
    assert t("found_no_gain") in html(held(report(folder, make_experiment()), folder), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_dense_policy_that_falls_apart_when_it_is_trained_on_is_told_of(
    ended: StudyFolder, language: str, tmp_path: Path
) -> None:
    t = words(language)
    shutil.copytree(ended.path, tmp_path / ended.name)
    folder = StudyFolder(tmp_path, ended.name)
    record = folder.study()
    assert record is not None and record.control is not None and record.baseline is not None
    assert t("found_fallen", kept="|").split("|")[0] not in html(
        held(study(ended), ended), language
    )
    fell = record.control.model_copy(update={"rounds": [returned(499), returned(260)]})
    folder.write_study(record.model_copy(update={"control": fell}))
    told = t("found_fallen", kept=f"{record.baseline.retention(260):.1%}")
    assert told in html(held(study(folder), folder), language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("second", [12.0, 490.0])
def test_what_to_try_is_told_where_most_trials_are_given_up(
    second: float, language: str, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path, "mine")
    folder.write_study(StudyRecord(name="mine", started=STARTED, baseline=BASELINE))
    for number in range(2):
        points = [make_point(number, 1, 0.5, 490), make_point(number, 2, 0.97, second)]
        folder.write_trial(make_trial(number, points=points))
    found = report(folder, make_experiment())
    lowest = min(trial.plan.ratio or 1.0 for trial in found.trials)
    figures = {"given_up": "2", "ended": "2", "enough": "95%", "lowest": f"{lowest:.1%}"}
    told = words(language)("found_lacking", **figures) in html(held(found, folder), language)
    assert told == (second == 12.0)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Debian's chromium, {CHROMIUM}")
def test_it_opens_offline_on_any_screen(ended: StudyFolder, tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    for language in LANGUAGES:
        path = tmp_path / f"{language}.html"
        write(study(ended), ended, path, language)
        for width in (360, 1600):
            asked: list[str] = []
            wrong: list[str] = []
            with chromium(width) as page:
                page.context.set_offline(True)
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
                page.goto(path.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.locator("figure svg").first.bounding_box()["width"] > 300
                printed = page.pdf(prefer_css_page_size=True)
            assert asked == [path.as_uri()] and wrong == []
            assert 2 <= printed.count(b"/Type /Page\n") <= 6
