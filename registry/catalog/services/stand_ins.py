"""A deputy, or whoever runs a server day to day, leaves: nobody is named who is not here, and the owner hears of it.

What has no owner is another matter (`succession`): there somebody has to say yes to answering for it.
"""

from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from registry.accounts.models import User
from registry.audit.models import Event
from registry.audit.services import record
from registry.catalog.models import Server, Vacancy
from registry.catalog.services.shared import locked_server, note_change
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.core.permissions import require

DEPUTY_LEFT, OPERATOR_LEFT = "server.deputy_left", "server.operator_left"


def with_stand_ins_who_left(user_id: UUID | None = None) -> QuerySet[Server]:
    """Servers in use or in the making of which this was not noted yet, for anybody or for this person."""
    # Somebody who was never active is as gone as they have been from the start.
    since = Coalesce(OuterRef("deputy__left_at"), OuterRef("deputy__created_at"))
    noted = Event.objects.filter(subject_type="server", subject_id=OuterRef("pk"), act=DEPUTY_LEFT, at__gte=since)
    deputy, operator = Q(~Exists(noted), deputy__is_active=False), Q(operator__is_active=False)
    if user_id is not None:
        deputy, operator = deputy & Q(deputy=user_id), operator & Q(operator=user_id)
    return Server.objects.exclude(lifecycle=Lifecycle.RETIRED).filter(deputy | operator)


@transaction.atomic
def release_stand_ins(*, actor: Actor, server: Server) -> list[tuple[str, User]]:
    """Note who stood in for its owner, or ran it, and left: `[("deputy" | "operator", person), …]`, empty when told.

    A server in use cannot be without the name of a deputy, so that one stays, shown as gone, until the owner names
    another; for a draft and for whoever runs it the name goes. A deputy who left acts in the interim no more.
    """
    require(actor, "catalog.keep_vacancies")
    server = locked_server(server)
    if not with_stand_ins_who_left().filter(pk=server.pk).exists():
        return []
    deputy, operator = server.deputy, server.operator
    gone: list[tuple[str, User]] = []
    if operator is not None and not operator.is_active:
        server.operator = None
        gone.append(("operator", operator))
        note_change(actor, server, OPERATOR_LEFT, {"operator": str(operator.pk), "left_at": operator.left_at})
    if deputy is not None and with_stand_ins_who_left(deputy.pk).filter(pk=server.pk).exists():
        data = {"deputy": str(deputy.pk), "left_at": deputy.left_at}
        gone.append(("deputy", deputy))
        Vacancy.objects.open().filter(server=server, interim=deputy).update(interim=None)
        if server.lifecycle == Lifecycle.DRAFT:
            server.deputy = None
            note_change(actor, server, DEPUTY_LEFT, data)
        else:
            record(actor=actor, act=DEPUTY_LEFT, subject=server, data=data)
    return gone
