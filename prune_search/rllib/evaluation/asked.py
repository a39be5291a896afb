"""What an evaluation may be asked for, in Python as by commands."""

from __future__ import annotations

from prune_search.errors import check_whole


def check_evaluation(seed: int | None, episodes: int | None) -> None:
    """Raises UserError unless the seed is 0 to 9,999 and the episodes 2 to 100,000, where given."""
    if episodes is not None:
        check_whole("episodes", episodes, 2, 100_000)
    if seed is not None:
        check_whole("seed", seed, 0, 9_999)
