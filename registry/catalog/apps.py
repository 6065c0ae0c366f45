from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "registry.catalog"
    verbose_name = "Catalog"
