"""People, teams and tokens over REST; one module per topic."""

from typing import Any

from registry.accounts.api import federation, people, powers, tokens, workloads

routes: list[Any] = [*federation.routes, *people.routes, *powers.routes, *tokens.routes, *workloads.routes]
paths: list[Any] = [*workloads.paths]
