"""Getting a Ray cluster: a running one by its address, or one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from prune_search.errors import UserError, one_line
from prune_search.experiment.schema import Resources
from tuners.signals import sigterm_interrupts

_PATIENCE_S = 20.0  # that Ray gets to end
_QUIET = {
    # Tune: one progress display, ours; results are in the study's folder, not in a second one.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # The study's folder and Optuna's database are what a resumed study reads; Tune need not
    # write its own state again and again.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    # Its own handler of Ctrl-C lets the rounds in progress end first, which may take minutes.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "PYTHONWARNINGS": "ignore",
}


@contextmanager
def connection(
    resources: Resources, tell: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """A Ray cluster for as long as the context lasts.

    Without an address Ray starts on this machine, and never attaches to a cluster left over. A
    process that is connected already stays as it is. SIGTERM raises KeyboardInterrupt meanwhile.

    Args:
        resources: its `address` and `threads`.
        tell: called with what is being done, before it is.

    Raises:
        UserError: there is no cluster at the address, or Ray cannot start here.
    """
    with _quietly(resources):
        yield from _connected(resources, tell)


@contextmanager
def _quietly(resources: Resources) -> Iterator[None]:
    """Warnings and logs of what we call are kept from whoever called us; then all is as it was."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    levels = [logger.level for logger in loggers]
    wanted = {**_QUIET, "OMP_NUM_THREADS": str(resources.threads)}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore")
            yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _connected(resources: Resources, tell: Callable[[str], None]) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        with sigterm_interrupts():
            yield
        return
    address = resources.address
    tell(f"connecting to Ray at {address}" if address else "starting Ray")
    if address:
        reachable(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else _of_ours()),
        )
    except (Exception, SystemExit) as error:
        _shutdown()  # ends what has started
        if isinstance(error, SystemExit) and error.code == signal.SIGTERM:  # by Ray's own handler
            raise KeyboardInterrupt from None
        raise UserError(_why(address, error)) from None
    # What goes wrong with a trial is told in one line by the display.
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with sigterm_interrupts():
            yield
    finally:
        _shutdown()


def _of_ours() -> dict[str, Any]:
    """What a Ray is told that is started here."""
    from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR
    from ray.job_config import JobConfig

    # Ray would have its processes look for every module in the working folder first, but for a job
    # of a client; each begins by what the command itself begins with instead.
    os.environ[WORKER_PROCESS_SETUP_HOOK_ENV_VAR] = "prune_search.import_paths.import_from_here"
    return {"include_dashboard": False, "job_config": JobConfig(_client_job=True)}


def _shutdown() -> None:
    """Ends Ray, or at least the waiting for it: what ends this process may have ended Ray's too."""
    import ray

    end = threading.Thread(target=ray.shutdown, daemon=True)
    end.start()
    end.join(_PATIENCE_S)


def _why(address: str | None, error: BaseException) -> str:
    """Why there is no Ray, in one line, and what can be done."""
    if address:
        return f"resources.address: no Ray cluster at {address!r}: {one_line(error)}"
    if "AF_UNIX" in str(error):
        return (
            f"TMPDIR: {tempfile.gettempdir()!r} is too long a path for the sockets of Ray, which"
            " puts its files there; set RAY_TMPDIR to a short one, such as /tmp"
        )
    return f"Ray cannot start on this machine: {one_line(error)}"


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
