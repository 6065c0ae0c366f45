from django.urls import path

from registry.discovery.views import imports

app_name = "discovery"

urlpatterns = [
    path("imports/", imports.imports, name="imports"),
    path("imports/new/", imports.NewImport.as_view(), name="import_new"),
    path("imports/<uuid:pk>/", imports.import_job, name="import"),
    path("imports/<uuid:pk>/progress/", imports.progress, name="import_progress"),
    path("imports/<uuid:pk>/results.csv", imports.results_csv, name="import_csv"),
    path("imports/<uuid:pk>/start/", imports.start, name="import_start"),
    path("imports/<uuid:pk>/stop/", imports.stop, name="import_stop"),
]
