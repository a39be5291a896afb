"""MLflow's client: how a store is reached, and what its answers mean."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prune_search.errors import UserError, one_line

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The tracker retries by itself; MLflow's own retries take minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # A new SQLite store reports every migration, a locked one prints a traceback.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_SILENT = re.compile(
    "Connection refused|timed out|No route to host|Network is unreachable"
    "|Name or service not known|Temporary failure in name resolution"
)


def artifact_location(uri: str) -> str | None:
    """Where artifacts go: beside a SQLite file; a server knows for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def experiment_named(client: Any, uri: str, name: str, tags: Mapping[str, str]) -> Any:
    """MLflow's experiment of this name, which is made where there is none.

    Args:
        client: of the store.
        uri: the store's.
        name: the experiment's.
        tags: what it is made with, beside its kind.

    Raises:
        ValueError: it was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        made = client.create_experiment(name, artifact_location(uri), tags={**_KIND, **tags})
        return client.get_experiment(made)
    if found.lifecycle_stage == "deleted":
        raise ValueError(
            f"experiment {name!r} is deleted there; restore it, or name another one as"
            " tracking.experiment"
        )
    return found


def tracked_experiment(uri: str, name: str) -> tuple[str, dict[str, str]]:
    """The id and the tags of an experiment.

    Raises:
        UserError: the store does not answer, or knows no such experiment.
    """
    try:
        found = client_of(uri).get_experiment_by_name(name)
    except Exception as error:  # MLflow's, requests' or SQLAlchemy's
        raise UserError(f"tracking.uri: MLflow at {uri}: {described(error)}") from None
    if found is None:
        raise UserError(f"tracking.experiment: MLflow at {uri} has no experiment {name!r} yet")
    return str(found.experiment_id), dict(found.tags)


def check_user(uri: str) -> None:
    """Asks a tracking server whether it lets the user in; one that is away is caught up later.

    Raises:
        UserError: it does not.
    """
    if not uri.startswith("http"):
        return
    try:
        client_of(uri).search_experiments(max_results=1)
    except Exception as error:
        if _status(error) == HTTPStatus.UNAUTHORIZED:
            raise UserError(f"tracking.uri: MLflow at {uri}: {described(error)}") from None


def described(error: Exception) -> str:
    """What a store has answered, in one line."""
    if _status(error) == HTTPStatus.UNAUTHORIZED:
        return (
            "it asks for a user and password that it knows; set MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD"
        )
    if "Max retries exceeded" in str(error):  # urllib3's, around which MLflow puts two more
        found = _SILENT.search(str(error))
        return f"no answer: {found.group().lower()}" if found else "no answer"
    return one_line(error, 200)


def _status(error: Exception) -> int | None:
    """HTTP's status where MLflow's error stands for one."""
    status: int | None = getattr(error, "get_http_status_code", lambda: None)()
    return status


def prepare_environment() -> None:
    """Keeps MLflow quiet and impatient, unless the user has set it otherwise."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def client_of(uri: str) -> Any:
    """MLflow's client of a store, quiet and impatient."""
    prepare_environment()
    import mlflow

    # Where it was imported earlier, it has read its level already.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow.MlflowClient(uri)
