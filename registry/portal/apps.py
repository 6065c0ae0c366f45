from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "registry.portal"
    verbose_name = "Portal"

    def ready(self) -> None:
        from registry.core.context import badge
        from registry.portal.queries import succession_count
        from registry.reviews.desk import inbox_count
        from registry.reviews.waiting import waiting_count

        badge("work", lambda actor: inbox_count(actor) + waiting_count(actor) + succession_count(actor))
