from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DiscoveryConfig(AppConfig):
    name = "registry.discovery"
    verbose_name = "Discovery"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.audit.queries import register_subject
        from registry.catalog.events import CertificationsChanged, ServerChanged, TierChanged, VisibilityChanged
        from registry.core import panels
        from registry.core.events import subscribe
        from registry.discovery import permissions, tasks  # noqa: F401 - registers the room's permissions
        from registry.discovery.events import ImportQueued, ProbeQueued, RegistryDue
        from registry.discovery.models import RegistrySource, Shadow

        def queued(event: ImportQueued) -> None:
            tasks.run_import.delay(job_id=str(event.job_id))

        def changed(event: ServerChanged) -> None:
            tasks.follow_server.delay(server_id=str(event.server_id))

        def tiered(event: TierChanged) -> None:
            tasks.publish_server.delay(server_id=str(event.server_id))

        def many_changed(event: CertificationsChanged | VisibilityChanged) -> None:
            tasks.sweep_publications.delay()

        def due(event: RegistryDue) -> None:
            tasks.sync_registry.delay(source_id=str(event.source_id))

        def wanted(event: ProbeQueued) -> None:
            tasks.run_probe.delay(probe_id=str(event.probe_id))

        subscribe(ProbeQueued, wanted)
        panels.register(page="server", url_name="discovery:server_probes", title=_("Probes"), order=50)
        subscribe(ServerChanged, changed)
        panels.register(page="server", url_name="discovery:definitions_panel", title=_("Definitions"), order=30)
        subscribe(TierChanged, tiered)
        subscribe(CertificationsChanged, many_changed)
        subscribe(VisibilityChanged, many_changed)
        subscribe(RegistryDue, due)
        auditlog.register(
            RegistrySource, include_fields=["name", "base_url", "interval_minutes", "makes_drafts", "state"]
        )
        secrets = _("Secret sources: verified?")
        panels.register(page="server", url_name="discovery:server_secrets", title=secrets, order=55)
        panels.register(page="server", url_name="discovery:published_panel", title=_("Publishing"), order=60)
        register_subject("registrysource", RegistrySource.objects.visible_to)
        auditlog.register(Shadow, include_fields=["state", "server", "reason", "ignored_until"])
        register_subject("shadow", Shadow.objects.visible_to, of_server=("server",))
        panels.register(page="server", url_name="discovery:server_sightings", title=_("Seen in"), order=60)
        subscribe(ImportQueued, queued)
