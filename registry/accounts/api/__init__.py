"""People, teams and tokens over REST; one module per topic."""

from typing import Any

from registry.accounts.api import people, tokens

routes: list[Any] = [*people.routes, *tokens.routes]
