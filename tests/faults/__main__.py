"""`python -m tests.faults [--out docs/faults.md]`: injects all faults and prints what came of it.

Starts Ray processes of its own and kills no others. Filling a disk needs the right to mount one.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers find the environment where the tests are.
_ROOT = str(Path(__file__).parents[2])
os.environ["PYTHONPATH"] = os.pathsep.join([_ROOT, os.environ.get("PYTHONPATH", "")])


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    from tests.faults.harness import Outcome, run_all
    from tests.faults.table import markdown

    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--out", type=Path, help="Markdown file to write.")
    parser.add_argument("--brief", action="store_true", help="One injection of each kind.")
    parser.add_argument(
        "--round-s", type=float, default=40.0, help="search.round_s: well above what a round takes."
    )
    parser.add_argument(
        "--study", action="append", default=[], help="This study alone; may be repeated."
    )
    given = parser.parse_args()
    only = ["undisturbed", *given.study] if given.study else []
    command = f"python -m tests.faults {shlex.join(sys.argv[1:])}".strip()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for found in run_all(Path(folder), given.brief, given.round_s, _say, only):
            outcomes += found
            if given.out is not None:
                given.out.write_text(markdown(outcomes, command), encoding="utf-8")
    print(markdown(outcomes, command))
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
