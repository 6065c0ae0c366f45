"""Names and numbers of MCP as the SDK has them. `mcp_types` takes 25 MB, so it is loaded by whoever probes a server
and not by every process that can."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    for module in ("mcp_types.version", "mcp_types"):
        if hasattr(found := import_module(module), name):
            return getattr(found, name)
    raise AttributeError(name)
