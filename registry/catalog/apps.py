from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from registry.accounts.events import PersonLeft, PersonReturned


class CatalogConfig(AppConfig):
    name = "registry.catalog"
    verbose_name = "Catalog"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.accounts.events import PersonLeft, PersonReturned
        from registry.audit.queries import register_subject
        from registry.catalog import models, permissions  # noqa: F401 - registers the rules
        from registry.core import panels
        from registry.core.events import subscribe

        bookkeeping = ["created_at", "updated_at", "version"]
        for model in (models.Server, models.System, models.Agent, models.Issuer, models.Endpoint, models.Tool,
                      models.Purpose, models.SecretSource, models.RevocationStep, models.Vacancy,
                      models.Proposal, models.VisibilityRule):  # fmt: skip
            auditlog.register(model, exclude_fields=bookkeeping)

        for model in (models.Server, models.System):
            register_subject(model._meta.model_name or "", model.objects.visible_to)
        register_subject("agent", models.Agent.objects.visible_to, of_server=("server",))
        register_subject("visibilityrule", models.VisibilityRule.objects.visible_to)
        subscribe(PersonLeft, _somebody_left)
        subscribe(PersonReturned, _somebody_returned)
        panels.register(page="person", url_name="catalog:person_holdings", title=_("What they answer for"), order=10)


def _somebody_left(event: "PersonLeft") -> None:
    from registry.catalog import tasks

    tasks.open_vacancies.delay(user_id=str(event.user_id))


def _somebody_returned(event: "PersonReturned") -> None:
    from registry.catalog import tasks

    tasks.offer_back.delay(user_id=str(event.user_id))
