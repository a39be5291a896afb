"""Getting a Ray cluster: a running one by its address, or one on this machine."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from prune_search.errors import UserError, one_line
from prune_search.experiment import Resources

_QUIET = {
    # Tune: one progress display, ours; results are in the study's folder, not in a second one.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # The study's folder and Optuna's database are what a resumed study reads; Tune need not
    # write its own state again and again.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "PYTHONWARNINGS": "ignore",
}


@contextmanager
def connection(resources: Resources) -> Iterator[None]:
    """A Ray cluster for as long as the context lasts.

    Without an address Ray starts on this machine, and never attaches to a cluster left over. A
    process that is connected already stays as it is.

    Raises:
        UserError: there is no cluster at the address.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("OMP_NUM_THREADS", str(resources.threads))
    warnings.filterwarnings("ignore")
    import ray

    if ray.is_initialized():
        yield
        return
    address = resources.address
    if address:
        reachable(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else {"include_dashboard": False}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"resources.address: no Ray cluster at {address!r}: {one_line(error)}"
        ) from None
    # What goes wrong with a trial is told in one line by the display.
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def reachable(address: str) -> None:
    """Asks the port itself: Ray would try a dead address for a minute.

    Raises:
        UserError: nothing listens there, or it is no address.
    """
    if address == "auto":
        return
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        if not parts.hostname or not parts.port:
            raise ValueError("must be auto, HOST:PORT or ray://HOST:PORT")
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UserError(f"resources.address: no Ray cluster at {address!r}: {error}") from None
