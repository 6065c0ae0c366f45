"""Every URL by its name, as the resolver knows them."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


def _walk(patterns: list[Any], namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _walk(
                pattern.url_patterns, f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            )
        else:
            yield f"{namespace}{pattern.name or ''}", pattern


PATTERNS: dict[str, URLPattern] = dict(_walk(get_resolver().url_patterns))


def parameters(name: str) -> set[str]:
    pattern = PATTERNS[name].pattern
    return set(pattern.regex.groupindex) | set(pattern.converters)
