import rules

from registry.core.actors import Actor
from registry.core.permissions import has_role, is_member, permission


@rules.predicate
def is_requester(actor: Actor, job: object) -> bool:
    return actor.is_person(getattr(job, "requested_by_id", None))


permission("discovery.view", is_member, otherwise="You need a role to see imports.")
permission("discovery.import_servers", is_member, otherwise="You need a role to import servers.")
permission(
    "discovery.direct_import",
    is_requester | has_role("administrator"),
    otherwise="Only whoever started this import, or an administrator, may start, stop or resume it.",
)
