"""REST resources of trust: the relationships with every act on them, and what the graph answers.

| module | what it holds |
| --- | --- |
| `acts` | grants and connections, one by one, with every act on them |
| `relationships` | both as one list |
| `questions` | what the graph answers, alone or up to a hundred at once |
| `combinations` | what no agent should hold together |
| `changes` | what changed since, for those who keep a copy |
| `exports` | the graph as a file |
| `asking`, `naming`, `schemas` | parameters, pages and tags; names around ids; the shapes of it all |
"""

from registry.trust.api import changes, exports, questions, relationships
from registry.trust.api.acts import ConnectionViewSet, GrantViewSet
from registry.trust.api.combinations import CombinationViewSet

routes = [
    ("grants", GrantViewSet, "grant"),
    ("connections", ConnectionViewSet, "connection"),
    ("trust/combinations", CombinationViewSet, "combination"),
]
paths = [*relationships.paths, *questions.paths, *changes.paths, *exports.paths]
