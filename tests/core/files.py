"""An address that answers a file and says nothing of it, beside the real ones."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from registry.urls import handler500
from registry.urls import urlpatterns as real

__all__ = ["handler500", "urlpatterns"]


def some_file(request: HttpRequest) -> HttpResponse:
    return HttpResponse("zqx-file", headers={"Content-Disposition": 'attachment; filename="some.txt"'})


urlpatterns = [path("some-file", some_file), *real]
