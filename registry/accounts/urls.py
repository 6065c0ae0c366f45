from django.urls import path

from registry.accounts import views

app_name = "accounts"
urlpatterns = [
    path("sign-in", views.sign_in, name="sign_in"),
    path("sign-out", views.sign_out, name="sign_out"),
    path("account", views.account, name="account"),
    path("account/password", views.password, name="password"),
    path("account/tokens", views.tokens, name="tokens"),
    path("account/tokens/<uuid:pk>/revoke", views.revoke, name="revoke_token"),
    path("people", views.people, name="people"),
    path("people/new", views.new_person, name="new_person"),
    path("people/<uuid:pk>", views.person, name="person"),
    path("people/<uuid:pk>/roles", views.roles, name="roles"),
    path("people/<uuid:pk>/standing", views.standing, name="standing"),
    path("teams", views.teams, name="teams"),
    path("teams/new", views.new_team, name="new_team"),
    path("teams/<slug:slug>", views.team, name="team"),
]
