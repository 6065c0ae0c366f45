"""Addresses that fail with secrets in everything they touch, beside the real ones."""

from typing import Any

from celery import shared_task
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from registry.urls import handler500
from registry.urls import urlpatterns as real

TOKEN = "stw_" + "k3Yx9ZqLm2" * 4
PASSWORD = "correct-horse-battery-9"
CLIENT_SECRET = "pXk29dkALs9dkmzQ7w"
COOKIE = "f0e1d2c3b4a5968778695a4b3c2d1e0f"
DATABASE_PASSWORD = "Vr7-quite-secret-8Tz"
PROXY_PASSWORD = "Wq4-also-secret-6Up"
SECRETS = (TOKEN, PASSWORD, CLIENT_SECRET, COOKIE, DATABASE_PASSWORD, PROXY_PASSWORD)

__all__ = ["handler500", "urlpatterns"]


def fail(request: HttpRequest) -> HttpResponse:
    password, cookie = request.POST.get("password"), request.COOKIES.get("sessionid")
    header = request.headers.get("Authorization", "")
    try:
        _connect(settings.DATABASE_URL, password)
    except ConnectionError as error:
        raise RuntimeError(
            f"Authorization: {header} was refused\nCookie: sessionid={cookie}\nset SECRET_KEY={settings.SECRET_KEY}"
        ) from error
    return HttpResponse(cookie)


def _connect(url: str, password: Any) -> None:
    proxy = settings.OUTBOUND_PROXY
    raise ConnectionError(f"cannot reach {url} through {proxy} with password={password} client_secret={CLIENT_SECRET}")


@shared_task
def failing_task(*, token: str) -> None:
    password = PASSWORD
    _connect(settings.DATABASE_URL, password + token[:0])


urlpatterns = [path("fails", fail), path("api/v1/fails", fail), *real]
