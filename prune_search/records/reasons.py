"""Why trials end, in the words that their records hold: one place for all that write or read them.

What failed is told in words of its own.
"""

from __future__ import annotations

BUDGET_USED = "budget used"
"""It has run to the end of its plan."""
SEARCH_TIME_USED = "search.time_s used"
SEARCH_STEPS_USED = "search.env_steps used"
CUT_OFF = frozenset({SEARCH_TIME_USED, SEARCH_STEPS_USED})
"""The search's budget was used while it ran, however it did."""
STOPPED_BY_SEARCH = "stopped by the search"
FAILED = "failed; why is not known"
"""These two where a driver was killed before it wrote down why."""
INTERRUPTED = "interrupted; goes on when the study is resumed"
"""In MLflow alone: in its record such a trial is running."""


def below_floor(floor: float, rounds: int) -> str:
    """Given up: its last rounds kept less than `pruning.floor` of the retention."""
    last = "one round" if rounds == 1 else f"{rounds} rounds"
    return f"kept less than {floor:.0%} of the return (pruning.floor) for {last}"


def stopped_by(scheduler: str) -> str:
    """Stopped by one of Tune's schedulers."""
    return f"stopped by {scheduler}"


def no_longer_improves(retention: float, sparsity: float, wrong: int, alike: int) -> str:
    """Stopped by `search.stopping`.

    Args:
        retention: that it needs at this sparsity for the front's sake.
        sparsity: that it can still get to.
        wrong: of those alike, trials that improved the front afterwards.
        alike: calibrating trials that looked as hopeless at some time.
    """
    return (
        f"no longer improves the front: for that it would have to keep {retention:.1%} of the"
        f" return at {sparsity:.1%} sparsity; of {alike} finished trials that looked as bad,"
        f" {wrong or 'none'} came that far"
    )
