from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "registry.accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.accounts import presence
        from registry.accounts.models import ApiToken, Team, User

        auditlog.register(User, exclude_fields=["password", "last_login", "version", "updated_at"])
        auditlog.register(Team, exclude_fields=["version", "updated_at"])
        auditlog.register(ApiToken, exclude_fields=["sha256", "last_used_at", "last_address", "version", "updated_at"])
        presence.connect()
