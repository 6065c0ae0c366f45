from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "registry.audit"
    verbose_name = "Audit"

    def ready(self) -> None:
        from registry.audit import permissions  # noqa: F401 - registers them
        from registry.audit.queries import trouble
        from registry.core import health

        health.ask("audit log", trouble)
