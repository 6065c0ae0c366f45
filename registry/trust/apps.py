from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrustConfig(AppConfig):
    name = "registry.trust"
    verbose_name = "Trust"

    def ready(self) -> None:
        from auditlog.registry import auditlog
        from django.db.models.signals import post_migrate

        from registry.audit.queries import register_subject
        from registry.catalog.events import AgentChanged, ServerChanged, ServerRetired, SystemChanged
        from registry.core import panels
        from registry.core.events import subscribe
        from registry.trust import permissions, tasks  # noqa: F401 - registers the room's permissions
        from registry.trust.models import Combination, Connection, Grant
        from registry.trust.seeds import lay_combinations

        post_migrate.connect(lay_combinations, sender=self)
        for model in (Grant, Connection, Combination):
            auditlog.register(model, exclude_fields=["version", "updated_at"])
        for relationship in (Grant, Connection):
            register_subject(
                relationship._meta.model_name or "", relationship.objects.visible_to, of_server=("server",)
            )

        def server_changed(event: ServerChanged) -> None:
            tasks.assess_server.delay(server_id=str(event.server_id))

        def end_retired(event: ServerRetired | AgentChanged) -> None:
            tasks.end_orphaned.delay()

        def system_changed(event: SystemChanged) -> None:
            # Its data class counts in the tier of every server that reaches it.
            tasks.assess_system.delay(system_id=str(event.system_id))
            tasks.end_orphaned.delay()

        subscribe(ServerChanged, server_changed)
        subscribe(ServerRetired, end_retired)
        subscribe(AgentChanged, end_retired)
        subscribe(SystemChanged, system_changed)

        panels.register(page="server", url_name="trust:server_panel", title=_("Trust path"), order=10)
        panels.register(
            page="server", url_name="trust:server_relationships", title=_("Grants and connections"), order=20
        )
        panels.register(page="server", url_name="trust:server_sources", title=_("What its secrets open"), order=25)
        panels.register(page="agent", url_name="trust:agent_panel", title=_("What it reaches"), order=10)
        panels.register(page="system", url_name="trust:system_panel", title=_("Who reaches it"), order=10)
        for kind in ("team", "person"):
            panels.register(page=kind, url_name=f"trust:{kind}_radius", title=_("Blast radius"), order=30)
            panels.register(page=kind, url_name=f"trust:{kind}_impact", title=_("What breaks without them"), order=31)
        for kind in ("server", "agent", "system", "issuer", "secret_source"):
            panels.register(page=kind, url_name=f"trust:{kind}_radius", title=_("Blast radius"), order=15)
            panels.register(page=kind, url_name=f"trust:{kind}_impact", title=_("What breaks without it"), order=16)
        panels.register(page="issuer-impact", url_name="trust:issuer_radius", title=_("Blast radius"), order=10)
        for kind in ("server", "agent", "system", "issuer"):
            panels.register(page=f"{kind}-impact", url_name=f"trust:{kind}_impact", title=_("What breaks"), order=20)
        # In the workbench: how things stand now, beside what was frozen when the item was made.
        for kind in ("server", "agent"):
            panels.register(page=f"review.now.{kind}", url_name=f"trust:{kind}_radius", title=_("Blast radius"))
        for kind in ("server", "agent", "grant", "connection"):
            panels.register(
                page=f"review.now.{kind}", url_name=f"trust:{kind}_impact", title=_("What breaks"), order=60
            )
