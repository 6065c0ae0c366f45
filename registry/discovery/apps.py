from django.apps import AppConfig


class DiscoveryConfig(AppConfig):
    name = "registry.discovery"
    verbose_name = "Discovery"

    def ready(self) -> None:
        from registry.core.events import subscribe
        from registry.discovery import permissions, tasks  # noqa: F401 - registers the room's permissions
        from registry.discovery.events import ImportQueued

        def queued(event: ImportQueued) -> None:
            tasks.run_import.delay(job_id=str(event.job_id))

        subscribe(ImportQueued, queued)
