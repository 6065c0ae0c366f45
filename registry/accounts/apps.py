from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "registry.accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.accounts import permissions, presence  # noqa: F401 - registers the permissions
        from registry.accounts.models import ApiToken, Team, User
        from registry.accounts.queries import people_visible_to, teams_visible_to, tokens_visible_to
        from registry.audit.queries import register_subject

        auditlog.register(User, exclude_fields=["password", "last_login", "version", "updated_at"])
        auditlog.register(Team, exclude_fields=["version", "updated_at"])
        auditlog.register(ApiToken, exclude_fields=["sha256", "last_used_at", "last_address", "version", "updated_at"])
        presence.connect()
        register_subject("user", people_visible_to)
        register_subject("team", teams_visible_to)
        register_subject("apitoken", tokens_visible_to)
