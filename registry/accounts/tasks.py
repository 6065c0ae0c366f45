"""Background work of accounts. Each finds what is due by itself, so that running twice changes nothing."""

from celery import shared_task

from registry.accounts import services


@shared_task(ignore_result=True)
def end_credentials_of_leavers() -> None:
    """Tokens and service principals of people who left. They stopped working with them; this makes it final."""
    services.revoke_tokens_of_leavers()
    services.suspend_principals_of_leavers()


@shared_task(ignore_result=True)
def rest_unconfirmed_credentials() -> None:
    services.rest_unconfirmed()


@shared_task(ignore_result=True)
def warn_of_token_ends() -> None:
    services.warn_of_token_ends()


@shared_task(ignore_result=True)
def refresh_workload_keys() -> None:
    services.refresh_due_keys()


@shared_task(ignore_result=True)
def forget_ended_sessions() -> None:
    services.forget_ended_sessions()


@shared_task(ignore_result=True)
def watch_emergency_roles() -> None:
    """Alarm about what was taken, and say of what ran out that it did."""
    services.alarm()
    services.end_due_roles()


@shared_task(ignore_result=True)
def watch_lifelines() -> None:
    """Alarm when nobody administers the registry any more, or the directory is no longer heard."""
    services.watch_lifelines()


BEAT = {
    "watch-lifelines": {"task": watch_lifelines.name, "schedule": 60.0},
    "watch-emergency-roles": {"task": watch_emergency_roles.name, "schedule": 60.0},
    "forget-ended-sessions": {"task": forget_ended_sessions.name, "schedule": 3600.0},
    "end-credentials-of-leavers": {"task": end_credentials_of_leavers.name, "schedule": 60.0},
    "rest-unconfirmed-credentials": {"task": rest_unconfirmed_credentials.name, "schedule": 3600.0},
    "warn-of-token-ends": {"task": warn_of_token_ends.name, "schedule": 3600.0},
    "refresh-workload-keys": {"task": refresh_workload_keys.name, "schedule": 300.0},
}
