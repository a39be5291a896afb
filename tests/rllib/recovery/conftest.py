"""One algorithm for all tests that leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rllib.recovery.teaching import ppo


@pytest.fixture(scope="module")
def cartpole() -> Iterator[Any]:
    built = ppo()
    yield built
    built.stop()
