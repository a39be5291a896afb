"""What is said where something has no place in a target."""

from __future__ import annotations

from prune_search.errors import UserError


def cannot(what: str, target: str = "", able: str = "rllib") -> UserError:
    """The error for a policy that a target can't hold.

    Args:
        what: the part of the policy that it can't.
        target: the target's name; empty for all that are made from the description.
        able: targets that can.
    """
    subject = f"target {target}" if target else "the description of a policy"
    return UserError(f"export: {subject} has no place for {what}; these have: {able}")
