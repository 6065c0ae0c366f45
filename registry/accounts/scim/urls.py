from django.urls import path

from registry.accounts.scim import views

app_name = "scim"
urlpatterns = [
    path("Users", views.UsersView.as_view(), name="users"),
    path("Users/.search", views.SearchUsersView.as_view(), name="search_users"),
    path("Users/<uuid:pk>", views.UserView.as_view(), name="user"),
    path("Groups", views.GroupsView.as_view(), name="groups"),
    path("Groups/.search", views.SearchGroupsView.as_view(), name="search_groups"),
    path("Groups/<uuid:pk>", views.GroupView.as_view(), name="group"),
    path("ServiceProviderConfig", views.ConfigView.as_view(), name="config"),
    path("ResourceTypes", views.DescriptionView.as_view(endpoint="ResourceTypes"), name="resource_types"),
    path("ResourceTypes/<str:key>", views.DescriptionView.as_view(endpoint="ResourceTypes"), name="resource_type"),
    path("Schemas", views.DescriptionView.as_view(endpoint="Schemas"), name="schemas"),
    path("Schemas/<str:key>", views.DescriptionView.as_view(endpoint="Schemas"), name="schema"),
    path("<path:rest>", views.ElsewhereView.as_view(), name="elsewhere"),
]
