"""Users, passwords and tokens in addresses: found, and left out of what is shown."""

from __future__ import annotations

import re
from typing import Any

# Generous: SQLAlchemy takes a password with a slash in it, and other libraries one with an @.
_PASSWORD = re.compile(r"//[^/?#\s@:]*:[^\s@]*@|https?://[^/?#\s]*@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&][\w-]*(?:password|passwd|token|secret|api_?key|signature|credential)[\w-]*=)[^&\s'\"]+",
    re.IGNORECASE,
)
_BEFORE_HOST = re.compile(r"(?<=//)[^\s'\"]*@")


def holds_credentials(text: str) -> bool:
    """Whether a text holds an address with a password, or with a parameter named like one."""
    return bool(_PASSWORD.search(text) or _PARAMETER.search(text))


def redacted(text: str) -> str:
    """The text without the credentials of addresses in it: `http://***@host`."""
    return _PARAMETER.sub(r"\1***", _BEFORE_HOST.sub("***@", text))


def fields_with_credentials(data: Any, field: str = "") -> list[str]:
    """Where in nested data there are addresses with credentials: `tracking.uri`."""
    if isinstance(data, str):
        return [field] if holds_credentials(data) else []
    if isinstance(data, dict):
        if any(holds_credentials(str(key)) for key in data):
            return [field]  # the key itself is not to be shown
        items = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list | tuple | set):
        items = [(str(number), value) for number, value in enumerate(data)]
    else:
        return []
    return [
        found
        for key, value in items
        for found in fields_with_credentials(value, f"{field}.{key}" if field else key)
    ]
