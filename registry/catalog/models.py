"""What exists, as declared, and who answers for it (DESIGN section 2). Observation never writes here."""

import re
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Exists, F, Func, OuterRef, Q, Value
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Membership, Team, User
from registry.catalog.changes import CHANGES, tracked
from registry.catalog.states import Lifecycle, ProposalState, Standing, VacancyState
from registry.catalog.visibility import settled
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows

server_name = RegexValidator(
    r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$",
    _("Use the reverse-DNS form with exactly one slash, for example com.example/warehouse-sql."),
)
spiffe_id = RegexValidator(
    r"^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$",
    _("A SPIFFE id looks like spiffe://example.org/agents/forecast."),
)


class Environment(models.TextChoices):
    PRODUCTION = "production", _("Production")
    STAGING = "staging", _("Staging")
    TEST = "test", _("Test")
    DEVELOPMENT = "development", _("Development")


class DataClass(models.TextChoices):
    """Ordered from harmless to harmful; `rank` compares."""

    PUBLIC = "public", _("Public")
    INTERNAL = "internal", _("Internal")
    CONFIDENTIAL = "confidential", _("Confidential")
    RESTRICTED = "restricted", _("Restricted")

    @property
    def rank(self) -> int:
        return list(DataClass).index(self)


class Tier(models.TextChoices):
    CRITICAL = "critical", _("Critical")
    HIGH = "high", _("High")
    MEDIUM = "medium", _("Medium")
    LOW = "low", _("Low")

    @property
    def rank(self) -> int:
        """4 for critical down to 1 for low."""
        return 4 - list(Tier).index(self)


class ToolClass(models.TextChoices):
    READ = "read", _("Read")
    WRITE = "write", _("Write")
    DESTRUCTIVE = "destructive", _("Destructive")
    EXECUTE = "execute", _("Execute")


class Transport(models.TextChoices):
    STREAMABLE_HTTP = "streamable-http", _("Streamable HTTP")
    SSE = "sse", _("HTTP with SSE (deprecated)")
    STDIO = "stdio", _("stdio")


class VisibleQuerySet(models.QuerySet[Any]):
    """Every member reads the catalog; what is confidential only its own people and those who oversee."""

    accountable: tuple[str, ...] = ("owner", "created_by")

    def visible_to(self, actor: Actor) -> Self:
        if actor.is_system or allows(actor, "catalog.view_confidential"):
            return self
        if not allows(actor, "catalog.view"):
            return self.none()
        if actor.user_id is None:
            return self.filter(confidential=False)
        user_id = actor.user_id
        in_team = Exists(Membership.objects.filter(team_id=OuterRef("team_id"), user_id=user_id))
        people = Q(admitted__contains=[user_id])
        for role in self.accountable:
            people |= Q(**{f"{role}_id": user_id})
        return self.filter(Q(confidential=False) | people | in_team)

    def orphaned(self) -> Self:
        """Whose owner left, and whom nobody has taken over. Without waiting for the row that says so."""
        return self.filter(self._without_owner())

    def with_owner_question(self) -> Self:
        """With `is_orphaned`, for lists."""
        return self.annotate(is_orphaned=self._without_owner())

    def _without_owner(self) -> Q:
        vacant = Vacancy.objects.filter(**{self.model._meta.model_name: OuterRef("pk")}, state=VacancyState.OPEN)
        in_use = ~Q(lifecycle=Lifecycle.RETIRED) if self.model is Server else ~Q(standing=Standing.RETIRED)
        return in_use & (Q(owner__is_active=False) | Q(Exists(vacant)))


class VisibilityRuleQuerySet(models.QuerySet["VisibilityRule"]):
    def visible_to(self, actor: Actor) -> Self:
        return self if actor.is_system or allows(actor, "catalog.view_visibility_rules") else self.none()

    def in_force(self) -> Self:
        return self.filter(dropped_at=None)

    def over(self, thing: "Governed") -> "VisibilityRule | None":
        """The rule that keeps a thing confidential, as it stands in memory: its team's before its environment's."""
        covering = Q(environment=thing.environment)
        if thing.team_id is not None:
            covering |= Q(team=thing.team_id)
        return self.in_force().filter(covering).select_related("team").order_by(F("team").asc(nulls_last=True)).first()


class VisibilityRule(Record):
    """Everything of one team, or everything in one environment, is confidential, until the rule is dropped."""

    team = models.ForeignKey(Team, models.PROTECT, related_name="visibility_rules", null=True, blank=True)
    environment = models.CharField(max_length=12, choices=Environment, blank=True)
    reason = models.TextField(max_length=2000)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, editable=False)
    dropped_at = models.DateTimeField(null=True, editable=False)
    dropped_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, editable=False)
    drop_reason = models.TextField(blank=True, max_length=2000, editable=False)

    objects = VisibilityRuleQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(team__isnull=False, environment="") | (Q(team=None) & ~Q(environment="")),
                name="visibility_rule_of_team_or_environment",
            ),
            models.UniqueConstraint(fields=["team"], condition=Q(dropped_at=None), name="one_visibility_rule_per_team"),
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(dropped_at=None) & ~Q(environment=""),
                name="one_visibility_rule_per_environment",
            ),
            models.CheckConstraint(
                condition=Q(dropped_at=None, drop_reason="") | (Q(dropped_at__isnull=False) & ~Q(drop_reason="")),
                name="visibility_rule_dropped_with_reason",
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return str(self.team or self.get_environment_display())

    @property
    def kind(self) -> "Because":
        return Because.TEAM if self.team_id is not None else Because.ENVIRONMENT

    @property
    def covers(self) -> Q:
        """The things it is about, whether or not it is why they are confidential."""
        return Q(team=self.team_id) if self.team_id is not None else Q(environment=self.environment)

    @property
    def sentence(self) -> str:
        return Because.sentence(self.kind, self.team, self.get_environment_display())


class Because(models.TextChoices):
    """Why a thing is confidential. A mark by hand stays whatever rules come and go, so it goes before them."""

    MARKED = "marked", _("Marked by hand")
    TEAM = "team", _("Its team keeps its things confidential")
    ENVIRONMENT = "environment", _("Everything in its environment is confidential")

    @staticmethod
    def sentence(because: str, team: Team | None, environment: str) -> str:
        if because == Because.TEAM:
            return gettext("Team %(team)s keeps its things confidential.") % {"team": team}
        if because == Because.ENVIRONMENT:
            return gettext("Everything in %(environment)s is confidential.") % {"environment": environment}
        return gettext("It was marked confidential by hand.") if because else ""


def says_why(name: str) -> models.CheckConstraint:
    """What is confidential says why, and what says why is confidential."""
    return models.CheckConstraint(
        condition=Q(confidential=False, confidential_because="") | (Q(confidential=True) & ~Q(confidential_because="")),
        name=name,
    )


class Governed(Record):
    """What servers, systems and agents share: an owner, a team, an environment, and who may see it."""

    owner = models.ForeignKey(User, models.PROTECT, related_name="owned_%(class)ss", null=True, blank=True)
    team = models.ForeignKey(Team, models.PROTECT, related_name="%(class)ss", null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="created_%(class)ss", null=True, editable=False
    )
    environment = models.CharField(max_length=12, choices=Environment, default=Environment.PRODUCTION)
    description = models.TextField(blank=True, max_length=2000)
    confidential = models.BooleanField(
        default=False,
        help_text=_("Only its team, its accountable people, its reviewers, security and auditors see it."),
    )
    confidential_because = models.CharField(max_length=11, choices=Because, blank=True, editable=False)
    """`confidential` is the answer everything asks for; this says where it comes from. Settled together (`settled`)."""
    admitted = ArrayField(models.UUIDField(), default=list, blank=True, editable=False)
    """People who may see it although it is confidential, because they review it (written by upper rooms)."""

    class Meta:
        abstract = True

    @property
    def why_confidential(self) -> str:
        return Because.sentence(self.confidential_because, self.team, self.get_environment_display())

    @property
    def kept_confidential(self) -> bool:
        """By a rule: its own people cannot open it."""
        return self.confidential_because in (Because.TEAM, Because.ENVIRONMENT)


class Issuer(Record):
    """A token issuer or trust domain whose identities are accepted, for one team or for everybody."""

    class Kind(models.TextChoices):
        OIDC = "oidc", _("OpenID Connect issuer")
        SPIFFE = "spiffe", _("SPIFFE trust domain")

    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=8, choices=Kind)
    uri = models.CharField(
        max_length=300,
        help_text=_("https://login.example.org or spiffe://example.org, exactly as in tokens."),
    )
    jwks_uri = models.URLField(blank=True, max_length=300)
    team = models.ForeignKey(Team, models.PROTECT, related_name="issuers", null=True, blank=True)
    standing = models.CharField(max_length=8, choices=Standing, default=Standing.ACTIVE)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint("uri", "team", name="issuer_once_per_team", nulls_distinct=False),
            models.CheckConstraint(
                condition=(Q(kind="oidc") & Q(uri__regex=r"^https?://"))
                | (Q(kind="spiffe") & Q(uri__startswith="spiffe://")),
                name="issuer_uri_fits_kind",
            ),
        ]
        triggers = [
            kept_forever(),
            *tracked("issuer", "name kind uri team_id standing"),
        ]

    def __str__(self) -> str:
        return self.name


class System(Governed):
    """A downstream system: what servers act on."""

    class Kind(models.TextChoices):
        DATABASE = "database", _("Database")
        TICKETING = "ticketing", _("Ticketing")
        REPOSITORY = "repository", _("Code repository")
        CLOUD = "cloud", _("Cloud API")
        STORAGE = "storage", _("Storage")
        MESSAGING = "messaging", _("Messaging")
        SAAS = "saas", _("Software service")
        INTERNAL = "internal", _("Internal API")
        HOST = "host", _("Host or file system")
        WEB = "web", _("Public web")

    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=Kind)
    data_class = models.CharField(max_length=12, choices=DataClass)
    standing = models.CharField(max_length=8, choices=Standing, default=Standing.ACTIVE)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["name", "environment"], name="system_once_per_environment"),
            says_why("system_says_why_confidential"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="system_newest"),
            models.Index(fields=["id"], condition=Q(confidential=True), name="system_confidential"),
        ]
        triggers = [
            kept_forever(),
            settled(),
            *tracked(
                "system",
                "name kind data_class standing owner_id team_id created_by_id environment confidential admitted",
            ),
        ]

    def __str__(self) -> str:
        return self.name


def _words_of(field: str) -> Func:
    """Letters and digits only, so that `io.github.acme/db_tool` is searched by acme, db and tool."""
    return Func(
        F(field), Value("[^[:alnum:]]+"), Value(" "), Value("g"),
        function="regexp_replace", output_field=models.TextField(),
    )  # fmt: skip


SERVER_WORDS = SearchVector(*map(_words_of, ("name", "title", "description")), config="simple")


class ServerQuerySet(VisibleQuerySet):
    accountable = ("owner", "deputy", "operator", "created_by")

    def matching(self, text: str) -> Self:
        """Servers in which every word of `text` begins a word of the name, title or description; by index only."""
        words = re.findall(r"[^\W_]+", text)
        if not words:
            return self if not text.strip() else self.none()
        query = SearchQuery(" & ".join(f"{word}:*" for word in words), config="simple", search_type="raw")
        return self.alias(words=SERVER_WORDS).filter(words=query)


class Server(Governed):
    """An MCP server as a governed thing. Not one running process."""

    name = models.CharField(max_length=200, unique=True, validators=[server_name])
    title = models.CharField(max_length=100, blank=True)
    release = models.CharField(_("version"), max_length=255, blank=True, help_text=_("As its publisher numbers it."))
    deputy = models.ForeignKey(User, models.PROTECT, related_name="deputised_servers", null=True, blank=True)
    owner_accepted_at = models.DateTimeField(null=True, blank=True)
    operator = models.ForeignKey(
        User,
        models.PROTECT,
        related_name="operated_servers",
        null=True,
        blank=True,
        help_text=_("Who runs it day to day, when that is neither the owner nor the deputy."),
    )
    website_url = models.URLField(blank=True, max_length=500)
    repository_url = models.URLField(blank=True, max_length=500)
    lifecycle = models.CharField(max_length=10, choices=Lifecycle, default=Lifecycle.DRAFT)
    lifecycle_reason = models.TextField(blank=True, max_length=2000)
    submitted_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    # Conclusions of upper rooms, written through services only.
    tier = models.CharField(max_length=8, choices=Tier, default=Tier.LOW)
    tier_factors = models.JSONField(default=list, blank=True)
    tier_override = models.CharField(max_length=8, choices=Tier, blank=True)
    tier_override_reason = models.TextField(blank=True, max_length=1000)
    certified_until = models.DateTimeField(null=True, blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    # What discovery saw of it besides its tools (instructions, prompts, …), as one digest; empty when it says nothing.
    said_digest = models.CharField(max_length=64, blank=True)
    approved_said_digest = models.CharField(max_length=64, blank=True)
    # Where an imported entry came from; `import_digest` makes a repeated import change nothing.
    import_source = models.CharField(max_length=300, blank=True)
    import_digest = models.CharField(max_length=64, blank=True)

    objects = ServerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(owner=None) | Q(deputy=None) | ~Q(deputy=F("owner")),
                name="server_deputy_is_not_owner",
            ),
            models.CheckConstraint(
                condition=Q(lifecycle__in=["draft", "retired"])
                | Q(owner__isnull=False, deputy__isnull=False, owner_accepted_at__isnull=False),
                name="server_in_use_has_accepted_owner_and_deputy",
            ),
            models.CheckConstraint(
                condition=Q(tier_override="") | ~Q(tier_override_reason=""),
                name="server_tier_override_has_reason",
            ),
            says_why("server_says_why_confidential"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="server_newest"),
            models.Index(fields=["id"], condition=Q(confidential=True), name="server_confidential"),
            models.Index(fields=["lifecycle", "tier"], name="server_by_lifecycle"),
            GinIndex(SERVER_WORDS, name="server_search"),
        ]
        triggers = [
            kept_forever(),
            settled(),
            *tracked(
                "server",
                "name title lifecycle tier certified_until quarantined_at deputy_id operator_id owner_id "
                "team_id created_by_id environment confidential admitted",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """The short name people say: the title, else what follows the slash."""
        return self.title or self.name.rpartition("/")[2]

    @property
    def purpose(self) -> "Purpose | None":
        return self.purposes.order_by("-number").first()

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not decide on it, by what they are to it (invariant 3)."""
        return {
            "owns the server": self.owner_id,
            "deputises for its owner": self.deputy_id,
            "operates the server": self.operator_id,
            "registered the server": self.created_by_id,
            "submitted the server": self.submitted_by_id,
        }


class Endpoint(Record):
    """One way to reach a server. `canonical_uri` is what logs and gateways name."""

    server = models.ForeignKey(Server, models.PROTECT, related_name="endpoints")
    transport = models.CharField(max_length=16, choices=Transport)
    url = models.CharField(max_length=500, blank=True)
    package_registry = models.CharField(max_length=20, blank=True, help_text=_("npm, pypi, oci, nuget, mcpb, cargo"))
    package_identifier = models.CharField(max_length=300, blank=True)
    package_version = models.CharField(max_length=255, blank=True)
    package_sha256 = models.CharField(max_length=64, blank=True)
    canonical_uri = models.CharField(max_length=700, db_index=True)
    inputs = models.JSONField(default=list, blank=True)
    """Declared environment variables, headers and arguments: `[{"in", "name", "required", "secret"}]`, no values."""
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["server", "canonical_uri"],
                condition=Q(retired_at=None),
                name="endpoint_once_per_server",
            ),
            models.CheckConstraint(
                condition=~Q(url="") | ~Q(package_identifier=""), name="endpoint_has_url_or_package"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.canonical_uri


class Tool(Record):
    """One tool of a server. A new or changed definition is not approved by being seen (invariant 5)."""

    server = models.ForeignKey(Server, models.PROTECT, related_name="tools")
    name = models.CharField(max_length=128)
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    definition = models.JSONField(default=dict, blank=True)
    """The definition as listed, without `_meta` and icons; empty when the tool was only named by a person."""
    digest = models.CharField(max_length=64)
    claimed_class = models.CharField(max_length=12, choices=ToolClass, blank=True)
    confirmed_class = models.CharField(max_length=12, choices=ToolClass, blank=True)
    approved_digest = models.CharField(max_length=64, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["server", "name"], condition=Q(retired_at=None), name="tool_once_per_server"
            )
        ]
        triggers = [
            kept_forever(),
            *tracked(
                "tool",
                "server_id name claimed_class confirmed_class retired_at",
                definition="jsonb_build_object('annotations', {row}.definition -> 'annotations')",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def approved(self) -> bool:
        return bool(self.digest) and self.approved_digest == self.digest

    @property
    def effective_class(self) -> str:
        """What the owner confirmed, else what the tool claims, else the worst that an unknown tool may do."""
        return self.confirmed_class or self.claimed_class or ToolClass.DESTRUCTIVE


class Purpose(Record):
    """What a server is for and where that ends. Immutable: a new number supersedes the one before."""

    server = models.ForeignKey(Server, models.PROTECT, related_name="purposes")
    number = models.PositiveIntegerField()
    statement = models.TextField(max_length=2000)
    in_scope = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    out_of_scope = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    data_classes = ArrayField(models.CharField(max_length=12, choices=DataClass), default=list)
    ends_on = models.DateField()
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["server", "number"], name="purpose_number_once"),
            models.CheckConstraint(condition=~Q(statement=""), name="purpose_has_statement"),
            models.CheckConstraint(condition=Q(data_classes__len__gt=0), name="purpose_has_data_class"),
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"Purpose {self.number} of {self.server}"


class SecretSource(Record):
    """Where a credential comes from: a reference, never a value (invariant 2)."""

    class Kind(models.TextChoices):
        VAULT = "vault", _("HashiCorp Vault or OpenBao")
        AWS_SECRETS_MANAGER = "aws_secrets_manager", _("AWS Secrets Manager")
        AZURE_KEY_VAULT = "azure_key_vault", _("Azure Key Vault")
        GCP_SECRET_MANAGER = "gcp_secret_manager", _("Google Secret Manager")
        KUBERNETES = "kubernetes", _("Kubernetes Secret")
        WORKLOAD_IDENTITY = "workload_identity", _("Workload identity")
        OAUTH_CLIENT = "oauth_client", _("OAuth client")
        PROMPTED = "prompted", _("Asked of the user by the client")
        ENVIRONMENT = "environment", _("Environment variable on a host")
        FILE = "file", _("File on a host")
        NONE = "none", _("No credential")

    class CredentialType(models.TextChoices):
        STATIC = "static", _("Static")
        ROTATED = "rotated", _("Rotated")
        SHORT_LIVED = "short_lived", _("Short-lived")
        WORKLOAD_IDENTITY = "workload_identity", _("Workload identity")

    class Verification(models.TextChoices):
        """What its store last said of it. Silence changes nothing: a store that cannot be asked denies nothing."""

        VERIFIED = "verified", _("Verified")
        NOT_FOUND = "not_found", _("Not found")
        DELETED = "deleted", _("Marked for deletion")

    server = models.ForeignKey(Server, models.PROTECT, related_name="secret_sources")
    kind = models.CharField(max_length=24, choices=Kind)
    reference = models.CharField(
        max_length=400,
        blank=True,
        help_text=_("Where it is kept, never the value, for example kv/data/wh-sql."),
    )
    name = models.CharField(max_length=120, blank=True, help_text=_("What it is used as, for example DB_PASSWORD."))
    credential_type = models.CharField(max_length=20, choices=CredentialType, blank=True)
    max_lifetime_seconds = models.PositiveBigIntegerField(null=True, blank=True)
    rotation_interval_days = models.PositiveIntegerField(null=True, blank=True)
    last_rotated_on = models.DateField(null=True, blank=True)
    revocable_by = models.CharField(max_length=200, blank=True, help_text=_("Who can revoke it, and where."))
    reason = models.TextField(blank=True, max_length=1000, help_text=_("Why no credential is needed."))
    verification = models.CharField(max_length=12, choices=Verification, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    """When its store last said that it is there."""
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=(Q(kind="none") & ~Q(reason="")) | (~Q(kind="none") & ~Q(reference="")),
                name="secret_source_has_reference_or_reason",
            ),
            models.CheckConstraint(
                condition=Q(kind="none") | ~Q(credential_type=""), name="secret_source_has_credential_type"
            ),
        ]
        indexes = [models.Index(fields=["kind", "reference"], name="secret_source_shared")]
        triggers = [
            kept_forever(),
            *tracked("secret_source", "server_id kind reference retired_at"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.reference or self.reason}"[:200]


class RevocationStep(Record):
    """One step of a server's revocation path, in order. The path is the set of its steps."""

    class Executor(models.TextChoices):
        MANUAL = "manual", _("By hand")
        REGISTRY = "registry", _("By this registry")
        WEBHOOK = "webhook", _("By webhook")

    server = models.ForeignKey(Server, models.PROTECT, related_name="revocation_steps")
    position = models.PositiveSmallIntegerField()
    instruction = models.CharField(max_length=500)
    executor = models.CharField(max_length=10, choices=Executor, default=Executor.MANUAL)
    responsible = models.CharField(max_length=200, help_text=_("Who does it: a person, team or on-call rota."))
    expected_minutes = models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(10080)])
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["server", "position"],
                condition=Q(retired_at=None),
                name="revocation_step_position_once",
            )
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.position}. {self.instruction}"


class Agent(Governed):
    """Whatever calls servers, known by SPIFFE id, or by issuer and client id."""

    class Kind(models.TextChoices):
        AI_AGENT = "ai_agent", _("AI agent")
        CLIENT = "client", _("Client application")
        WORKLOAD = "workload", _("Workload")
        SERVER = "server", _("MCP server that calls other servers")

    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.AI_AGENT)
    spiffe_id = models.CharField(max_length=300, blank=True, validators=[spiffe_id])
    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="agents", null=True, blank=True)
    client_id = models.CharField(max_length=200, blank=True)
    server = models.OneToOneField(Server, models.PROTECT, related_name="as_agent", null=True, blank=True)
    standing = models.CharField(max_length=8, choices=Standing, default=Standing.ACTIVE)
    certified_until = models.DateTimeField(null=True, blank=True)  # a conclusion of reviews

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(spiffe_id="") | (Q(issuer__isnull=False) & ~Q(client_id="")),
                name="agent_is_known",
            ),
            models.UniqueConstraint(fields=["spiffe_id"], condition=~Q(spiffe_id=""), name="agent_spiffe_id_once"),
            models.UniqueConstraint(
                fields=["issuer", "client_id"],
                condition=~Q(client_id=""),
                name="agent_client_once_per_issuer",
            ),
            models.CheckConstraint(
                condition=(Q(kind="server") & Q(server__isnull=False)) | (~Q(kind="server") & Q(server=None)),
                name="agent_server_link_fits_kind",
            ),
            says_why("agent_says_why_confidential"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="agent_newest"),
            models.Index(fields=["id"], condition=Q(confidential=True), name="agent_confidential"),
        ]
        triggers = [
            kept_forever(),
            settled(),
            *tracked(
                "agent",
                "name kind spiffe_id issuer_id client_id server_id standing certified_until owner_id "
                "team_id created_by_id environment confidential admitted",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def identity(self) -> str:
        return self.spiffe_id or f"{self.client_id} at {self.issuer}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not decide on it, by what they are to it (invariant 3)."""
        return {
            "owns the agent": self.owner_id,
            "registered the agent": self.created_by_id,
            **(
                {f"{bar} behind the agent": person for bar, person in self.server.interested.items()}
                if self.server
                else {}
            ),
        }


class TrackedPerson(User):
    """Carries the triggers that write down what answers say of people: rooms below know nothing of `Change`."""

    class Meta:
        proxy = True
        triggers = [*tracked("person", "name is_active")]


class TrackedTeam(Team):
    """The same for teams."""

    class Meta:
        proxy = True
        triggers = [*tracked("team", "name")]


class TransactionId(models.Field):
    """PostgreSQL's xid8: the number of a transaction, which never wraps around."""

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        return None if value is None else int(value)


class Change(models.Model):
    """That a thing of the trust graph came to be or changed, in a material column. Written by triggers only.

    `number` follows the order of writing, not of commits: a transaction that began earlier may commit later. Readers
    ask by `xid` what their snapshot did not show yet. `before` is what the material columns held, null for what came
    to be; so the state at a past instant is today's with the first `before` after that instant laid over.
    """

    class Operation(models.TextChoices):
        CREATED = "created", _("Created")
        CHANGED = "changed", _("Changed")

    number = models.BigAutoField(primary_key=True)
    xid = TransactionId(editable=False, db_default=Func(function="pg_current_xact_id", output_field=TransactionId()))
    at = models.DateTimeField(editable=False, db_default=Now())
    kind = models.CharField(max_length=16, editable=False)
    """agent, server, system, issuer, tool, secret_source, person, team; of the room trust grant, connection,
    combination, and observation (a statement that wrote some, not one of them)."""
    thing_id = models.UUIDField(editable=False)
    operation = models.CharField(max_length=8, choices=Operation, editable=False)
    before = models.JSONField(null=True, editable=False)

    class Meta:
        db_table = CHANGES
        ordering = ["number"]
        constraints = [
            models.CheckConstraint(
                condition=Q(operation="created", before__isnull=True) | Q(operation="changed", before__isnull=False),
                name="change_tells_what_was_before",
            )
        ]
        indexes = [
            models.Index(fields=["xid"], name="change_by_transaction"),
            models.Index(fields=["at"], name="change_by_time"),
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.number}: {self.kind} {self.thing_id} {self.operation}"


# --- Without an owner ------------------------------------------------------------------------------------


class AboutGoverned(models.QuerySet[Any]):
    """Rows about one server, system or agent: who sees that sees them."""

    path = ""

    def visible_to(self, actor: Actor) -> Self:
        seen = Q()
        for model in (Server, System, Agent):
            name = f"{self.path}{model._meta.model_name}"
            seen |= Q(**{f"{name}__in": model.objects.visible_to(actor).order_by().values("pk")})
        return self.filter(seen)


class VacancyQuerySet(AboutGoverned):
    def open(self) -> Self:
        return self.filter(state=VacancyState.OPEN)


class ProposalQuerySet(AboutGoverned):
    path = "vacancy__"

    def waiting(self) -> Self:
        return self.filter(state=ProposalState.PROPOSED)


class Vacancy(Record):
    """One server, system or agent whose owner left: it stays so until somebody takes it over.

    `interim` is who acts meanwhile: the deputy, who was named for just this. Interim, they are not the owner.
    """

    server = models.ForeignKey(Server, models.PROTECT, related_name="vacancies", null=True, blank=True)
    system = models.ForeignKey(System, models.PROTECT, related_name="vacancies", null=True, blank=True)
    agent = models.ForeignKey(Agent, models.PROTECT, related_name="vacancies", null=True, blank=True)
    former_owner = models.ForeignKey(User, models.PROTECT, related_name="vacancies")
    interim = models.ForeignKey(User, models.PROTECT, related_name="interim_for", null=True, blank=True)
    state = models.CharField(max_length=8, choices=VacancyState, default=VacancyState.OPEN)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=200, blank=True)

    asked: list["Proposal"]
    """The proposals that wait for an answer, where a query has fetched them along."""

    objects = VacancyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "vacancies"
        constraints = [
            models.CheckConstraint(
                condition=Q(server__isnull=False, system=None, agent=None)
                | Q(server=None, system__isnull=False, agent=None)
                | Q(server=None, system=None, agent__isnull=False),
                name="vacancy_of_exactly_one_thing",
            ),
            *(
                models.UniqueConstraint(
                    fields=[kind], condition=Q(state=VacancyState.OPEN), name=f"one_open_vacancy_per_{kind}"
                )
                for kind in ("server", "system", "agent")
            ),
        ]
        indexes = [models.Index(fields=["former_owner"], condition=Q(state="open"), name="vacancy_open_of")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.thing} of {self.former_owner}"

    @property
    def kind(self) -> str:
        return next(kind for kind in ("server", "system", "agent") if getattr(self, f"{kind}_id") is not None)

    @property
    def thing(self) -> "Server | System | Agent":
        found: Server | System | Agent = getattr(self, self.kind)
        return found


class Proposal(Record):
    """The question to one person whether they take over what a vacancy is about. Only their yes makes them owner."""

    class Rule(models.TextChoices):
        DEPUTY = "deputy", _("Deputy")
        MANAGER = "manager", _("Manager of who left")
        TEAM_LEAD = "team_lead", _("Lead of its team")
        FORMER_OWNER = "former_owner", _("Came back")
        BY_HAND = "by_hand", _("Chosen by somebody")

    vacancy = models.ForeignKey(Vacancy, models.PROTECT, related_name="proposals")
    successor = models.ForeignKey(User, models.PROTECT, related_name="succession_proposals")
    proposed_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    rule = models.CharField(max_length=12, choices=Rule)
    note = models.TextField(blank=True, max_length=1000)
    state = models.CharField(max_length=10, choices=ProposalState, default=ProposalState.PROPOSED)
    answer = models.TextField(blank=True, max_length=1000)
    answered_at = models.DateTimeField(null=True, blank=True)

    objects = ProposalQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["vacancy"], condition=Q(state=ProposalState.PROPOSED), name="one_waiting_proposal_per_vacancy"
            )
        ]
        indexes = [models.Index(fields=["successor"], condition=Q(state="proposed"), name="proposal_waiting_for")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.vacancy.thing} to {self.successor}"
