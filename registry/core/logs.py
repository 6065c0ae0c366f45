"""What must not reach a log."""

from collections.abc import MutableMapping
from typing import Any


def without_query(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: the request's path without its query, which may hold what somebody searched for."""
    if isinstance(request := event.get("request"), str):
        event["request"] = request.partition("?")[0]
    return event
