"""The words of a report, one file for each language."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from prune_search.errors import check_known

_FOLDER = Path(__file__).with_name("words")
LANGUAGES = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
"""Those that there are words of."""


class Words:
    """Sentences by name, in which figures are put.

    >>> Words({"left": "{weights} left"})("left", weights=7)
    '7 left'
    """

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def __call__(self, name: str, **figures: object) -> str:
        return self.texts[name].format(**figures)


@cache
def words(language: str) -> Words:
    """The words of a language.

    Raises:
        UserError: there are none; the message lists the languages that there are.
    """
    check_known("--lang", language, LANGUAGES)
    texts = YAML(typ="safe").load(_FOLDER / f"{language}.yaml")
    # A percent sign stays on its figure's line.
    return Words({name: str(text).strip().replace(" %", "\u00a0%") for name, text in texts.items()})
