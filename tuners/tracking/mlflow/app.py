"""MLflow's server for `prune-search ui`: its pages open where studies are.

Of a page without parameters, the browser's storage says what it shows: pages about language models
or about training, an assistant beside it or none, which columns. No setting of the server changes
what stands there at first, and the experiment's tag for it is not read (MLflow 3.17.2). So the page
is sent with a line of script that fills in what is not there yet; the rest is MLflow's app.

MLflow loads it by `mlflow server --app-name prune-search`, from the entry point "mlflow.app".
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from mlflow.server.fastapi_app import app

from tuners.tracking.mlflow.views import BEGINNING


async def begin(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Sends MLflow's page with the line of script; all else as it is."""
    response = await call_next(request)
    if request.url.path != "/" or request.method != "GET" or response.status_code != 200:
        return response
    body = b"".join([part async for part in response.body_iterator])
    # As a string within the page: `</script>` would end it.
    values = os.environ.get(BEGINNING, "{}").replace("<", "\\u003c")
    script = (
        f"<script>for (const [key, value] of Object.entries({values}))"
        " if (localStorage.getItem(key) === null) localStorage.setItem(key, value)</script>"
    )
    page = body.decode().replace("<head>", f"<head>{script}", 1)
    return Response(page, media_type="text/html")


app.middleware("http")(begin)
