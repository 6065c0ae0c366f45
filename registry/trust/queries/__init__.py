"""Reads over trust: relationships as a list, and the graph they make. Start at `ask`.

| module | what it answers |
| --- | --- |
| `ask` | every question about the graph, for one actor at one instant |
| `answers`, `picturing` | the shapes of the answers, and of what is drawn |
| `standpoint` | the state asked, the instant, and what the actor may not see |
| `reaching`, `cuts`, `routes` | reach, access and blast radius; impact; paths |
| `crossing`, `combining`, `hygiene`, `overview` | the estate as a whole |
| `surroundings`, `neighbourhood` | what belongs into a picture, and how it is grouped |
| `observed` | what was seen in use |
| `naming` | what a text names, and the names of what an answer lists by id |
| `relationships`, `past` | grants and connections as one list; rows as they once were |
| `feed`, `exporting` | what changed since, for sync; everything, in chunks |
| `facts`, `validity` | what the tier is judged by; how long a relationship may last |
"""

from registry.trust.queries.answers import Loss, Ref
from registry.trust.queries.ask import Questions, ask
from registry.trust.queries.facts import tier_facts
from registry.trust.queries.naming import find, named
from registry.trust.queries.relationships import RelationshipPage, relationship_page, relationship_rows, versions
from registry.trust.queries.validity import MAX_VALIDITY, Limit, latest_valid_until

__all__ = [
    "MAX_VALIDITY",
    "Limit",
    "Loss",
    "Questions",
    "Ref",
    "RelationshipPage",
    "ask",
    "find",
    "latest_valid_until",
    "named",
    "relationship_page",
    "relationship_rows",
    "tier_facts",
    "versions",
]
