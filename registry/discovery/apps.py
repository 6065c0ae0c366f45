from django.apps import AppConfig


class DiscoveryConfig(AppConfig):
    name = "registry.discovery"
    verbose_name = "Discovery"
