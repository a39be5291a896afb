"""Debian's chromium, for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def chromium(width: int = 1600, height: int = 1250) -> Iterator[Any]:
    """A page of a browser that was never used before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox"],  # tests run as root in containers
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(180_000)
        yield page
        browser.close()
