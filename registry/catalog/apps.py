from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "registry.catalog"
    verbose_name = "Catalog"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.audit.queries import register_subject
        from registry.catalog import models, permissions  # noqa: F401 - registers the rules

        bookkeeping = ["created_at", "updated_at", "version"]
        for model in (models.Server, models.System, models.Agent, models.Issuer, models.Endpoint, models.Tool,
                      models.Purpose, models.SecretSource, models.RevocationStep):  # fmt: skip
            auditlog.register(model, exclude_fields=bookkeeping)

        for model in (models.Server, models.System, models.Agent):
            register_subject(model._meta.model_name or "", model.objects.visible_to)
