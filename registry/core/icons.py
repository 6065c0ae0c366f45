"""One icon sprite, built from the lucide package when static files are collected."""

from collections.abc import Iterator
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder


class SpriteFinder(BaseFinder):
    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        return []

    def list(self, ignore_patterns: Any) -> Iterator[Any]:
        return iter(())
