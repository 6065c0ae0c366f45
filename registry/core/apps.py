from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "registry.core"
    verbose_name = "Core"
