"""The report's page: sections with their words, laid out by a template, around the data."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from prune_search.records.folder import StudyFolder
from prune_search.storage.replacing import replace_file
from tuners.page.embedding import embedded
from tuners.page.held import Held, held, report_of_held
from tuners.page.pictures import COLORS, course, front, layers, network
from tuners.page.tables import again, found, mattered, tiles, trials, weigh
from tuners.page.words import words
from tuners.report.study_report import StudyReport

_HERE = Path(__file__).parent


def write(study: StudyReport, folder: StudyFolder, path: Path, language: str = "en") -> int:
    """Writes a study's report; the bytes that it has.

    Args:
        study: what it found.
        folder: the study's.
        path: of the file, which is replaced.
        language: of `words.LANGUAGES`.

    Raises:
        UserError: there is no such language.
        OSError: the file can't be written.
    """
    page = html(held(study, folder), language).encode()
    replace_file(path, page)
    return len(page)


def html(one: Held, language: str = "en") -> str:
    """The page: the same text for the same data.

    Raises:
        UserError: there is no such language.
    """
    t, study = words(language), report_of_held(one)
    made = t("made", version=one.version)
    return _template().render(
        t=t,
        name=study.name,
        environment=study.environment,
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        color=COLORS,
        tiles=tiles(study, t),
        found=found(one, study, t),
        front=front(study, t),
        network=network(one, t),
        layers=layers(one, study, t),
        course=course(study, t),
        mattered=mattered(study, t),
        trials=trials(study, t),
        weigh=weigh(study, t),
        again=again(one, study, t),
        made=f"{made} {t('episodes_left_out')}" if one.episodes_left_out else made,
        data=Markup(embedded(one)),
    )


@cache
def _template() -> jinja2.Template:
    # Whatever is no Markup is escaped: names, plans and reasons are anyone's.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["code"] = _code
    environment.filters["breaking"] = _breaking
    return environment.get_template("report.html.jinja")


def _code(text: str) -> Markup:
    """A sentence with what stands in `` ` `` as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _breaking(text: str, sign: str) -> Markup:
    """A text that may go on in the next line behind a sign, as plans do behind a slash."""
    return Markup(str(escape(text)).replace(sign, f"{sign}<wbr>"))
