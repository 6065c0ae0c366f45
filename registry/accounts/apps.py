from django.apps import AppConfig

from registry.accounts.events import EmergencyRoleTaken, PersonLeft


def _end_credentials(_event: PersonLeft) -> None:
    from registry.accounts.tasks import end_credentials_of_leavers

    end_credentials_of_leavers.delay()


def _raise_alarm(_event: EmergencyRoleTaken) -> None:
    from registry.accounts.tasks import watch_emergency_roles

    watch_emergency_roles.delay()


class AccountsConfig(AppConfig):
    name = "registry.accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.accounts import banners, lifelines, permissions, presence  # noqa: F401 - registers the permissions
        from registry.accounts.models import ApiToken, ServicePrincipal, Team, User, WorkloadIssuer
        from registry.accounts.queries import (
            issuers_visible_to,
            people_visible_to,
            principals_visible_to,
            teams_visible_to,
            tokens_visible_to,
        )
        from registry.audit.queries import register_subject
        from registry.core import health
        from registry.core.events import subscribe

        auditlog.register(
            User,
            exclude_fields=[
                *("password", "password_given", "last_login", "elevated_role", "elevated_until"),
                *("vouched_at", "unvouched_at", "version", "updated_at"),
            ],
        )
        auditlog.register(Team, exclude_fields=["version", "updated_at"])
        used = ["last_used_at", "last_address", "version", "updated_at"]
        hidden = ["sha256", "previous_sha256", "previous_used_at", "warned_at"]
        auditlog.register(ApiToken, exclude_fields=[*hidden, *used])
        auditlog.register(ServicePrincipal, exclude_fields=used)
        auditlog.register(
            WorkloadIssuer,
            exclude_fields=["keys", "keys_at", "keys_tried_at", "keys_error", "version", "updated_at"],
        )
        presence.connect()
        banners.connect()
        health.ask("directory", lifelines.trouble_of_directory)
        health.ask("administrators", lifelines.trouble_of_administrators)
        subscribe(PersonLeft, _end_credentials)
        subscribe(EmergencyRoleTaken, _raise_alarm)
        register_subject("user", people_visible_to)
        register_subject("team", teams_visible_to)
        register_subject("apitoken", tokens_visible_to)
        register_subject("serviceprincipal", principals_visible_to)
        register_subject("workloadissuer", issuers_visible_to)
