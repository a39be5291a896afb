"""What `prune-search benchmark` measures, a file for each kind."""

from tuners.cli.benchmarks import (  # noqa: F401 - they are registered
    devices,
    methods,
    recorded,
    robustness,
    studies,
    tasks,
    training,
)
