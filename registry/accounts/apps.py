from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "registry.accounts"
    verbose_name = "Accounts"
