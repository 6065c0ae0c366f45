from django.apps import AppConfig


class TrustConfig(AppConfig):
    name = "registry.trust"
    verbose_name = "Trust"
