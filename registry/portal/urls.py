from django.urls import path

from registry.portal.views.api_docs import api_docs, openapi
from registry.portal.views.home import home, search_page
from registry.portal.views.registration import IdentityStep, StartView, registration, resume

app_name = "portal"

urlpatterns = [
    path("", home, name="home"),
    path("search/", search_page, name="search"),
    path("register/", StartView.as_view(), name="register"),
    path("register/new/", IdentityStep.as_view(), name="register_by_hand"),
    path("register/<uuid:pk>/", resume, name="resume"),
    path("register/<uuid:pk>/<slug:step>/", registration, name="registration"),
    path("api/v1/openapi.json", openapi, name="openapi"),
    path("api/v1/docs", api_docs, name="api_docs"),
]
