"""People, teams and tokens over REST; one module per topic."""

from typing import Any

from registry.accounts.api import federation, people, tokens, workloads

routes: list[Any] = [*federation.routes, *people.routes, *tokens.routes, *workloads.routes]
paths: list[Any] = [*workloads.paths]
