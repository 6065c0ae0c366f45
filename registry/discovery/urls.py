from django.urls import path

from registry.discovery import views

app_name = "discovery"

urlpatterns = [
    path("imports/", views.imports, name="imports"),
    path("imports/new/", views.NewImport.as_view(), name="import_new"),
    path("imports/<uuid:pk>/", views.import_job, name="import"),
    path("imports/<uuid:pk>/progress/", views.progress, name="import_progress"),
    path("imports/<uuid:pk>/results.csv", views.results_csv, name="import_csv"),
    path("imports/<uuid:pk>/start/", views.start, name="import_start"),
    path("imports/<uuid:pk>/stop/", views.stop, name="import_stop"),
]
