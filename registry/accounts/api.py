"""People, teams and tokens as REST resources."""

from typing import Any

routes: list[Any] = []
