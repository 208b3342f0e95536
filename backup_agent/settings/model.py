"""The settings file: every key with its type and default. Attribute names are the keys of the file.

Checks that involve two keys are field validators of the later key. pydantic runs a model validator only if all fields
are valid, so a user would have to correct the faults in two rounds.
"""

from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from backup_agent.core.artifacts.attribution import Attribution
from backup_agent.core.artifacts.chain_limits import ChainLimits
from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME, PlaceName, SetName
from backup_agent.core.doctor.checks import Acceptance, Check
from backup_agent.core.durations import written_duration
from backup_agent.core.protection.expected import BackupSchedule, Objective, Rules
from backup_agent.core.requests.cron import Cron
from backup_agent.core.requests.schedules import Misfire, Timetable
from backup_agent.settings.addresses import PAGE, split_address
from backup_agent.settings.drill import Drill
from backup_agent.settings.grammar import (
    AbsolutePath,
    Address,
    BackupAddresses,
    BoltUri,
    CronText,
    DatabaseGlobs,
    DeclaredSet,
    Duration,
    Fingerprint,
    GlobOrGlobs,
    IncludeMetadata,
    Label,
    Listen,
    Moment,
    PositiveDuration,
    RehearsalGlob,
    Size,
    Zone,
)
from backup_agent.settings.notify import Receiver
from backup_agent.settings.s3 import S3Destination
from backup_agent.settings.section import Retention, Section, Verify


class ScheduleType(StrEnum):
    """What a schedule asks for: a backup of a type, or drills."""

    FULL = "FULL"
    DIFF = "DIFF"
    AUTO = "AUTO"
    DRILL = "DRILL"


RESTART_ONLY = ("cluster", "requests.folder", "storage.root", "http")
"""Keys whose changed values take effect only after a restart."""

Port = Annotated[int, Field(ge=1, le=65535)]


def _section(description: str) -> Any:  # noqa: ANN401  as pydantic's Field
    """Declare a section that may be absent. A default that is an object would cost each process a validator more."""
    return Field({}, description=description, validate_default=True)


class BackupTls(Section):
    """TLS to the servers' backup port: certificates and key that neo4j-admin uses (dbms.ssl.policy.backup)."""

    ca_file: AbsolutePath = Field(description="CA certificates that check the servers' backup certificates")
    # Both are mandatory, even for a client: Neo4j 5.26.31 and 2026.09.0 load no policy without them.
    cert_file: AbsolutePath = Field(description="own certificate, which servers with client authentication check")
    key_file: AbsolutePath = Field(description="private key of cert_file")
    verify_hostname: bool = Field(True, description="whether a server's certificate must name its host")


class Neo4j(Section):
    """Where the cluster is, and how neo4j-admin is run against it."""

    uri: BoltUri = Field(
        description="Bolt address of the client service; the copy itself comes from the servers' backup port",
        examples=["neo4j://demo-client:7687"],
    )
    username: str = Field("neo4j", min_length=1, description="name to log in with over Bolt")
    username_file: AbsolutePath | None = Field(
        None, description="file that holds the name, instead of `username`", examples=["/run/secrets/neo4j/username"]
    )
    password_file: AbsolutePath | None = Field(
        None,
        description="file that holds the password, read at each use; without it the environment's NEO4J_PASSWORD",
        examples=["/run/secrets/neo4j/password"],
    )
    ca_file: AbsolutePath | None = Field(
        None,
        description="file with the CA certificates for a `+s` uri, if they are not public",
        examples=["/run/secrets/neo4j/ca.crt"],
    )
    backup_port: Port = Field(6362, description="port of the servers' backup listener")
    servers: tuple[Address, ...] = Field(
        (),
        description="host:port of backup listeners, used when Bolt does not answer",
        examples=[["demo-server-0.demo-headless:6362"]],
    )
    backup_addresses: BackupAddresses = Field(
        None,
        description="backup listeners where they differ from the Bolt addresses: a map from server id or Bolt host to "
        "host:port, or a template of {host} (of the Bolt address), {name} (its first label) and {server_id}",
        examples=["{name}.demo-headless:6362"],
    )
    backup_tls: BackupTls | None = Field(None, description="the client side of dbms.ssl.policy.backup")
    additional_config: AbsolutePath | None = Field(
        None, description="file passed on to neo4j-admin as --additional-config", examples=["/etc/neo4j/extra.conf"]
    )
    include_metadata: IncludeMetadata = Field("all", description="passed on to neo4j-admin as --include-metadata")
    admin: AbsolutePath | None = Field(
        None,
        description="path of neo4j-admin, run as it is; without it $NEO4J_HOME/bin, then PATH",
        examples=["/opt/neo4j/bin/neo4j-admin"],
    )
    launch: Literal["auto", "script", "direct"] = Field(
        "auto", description="direct: neo4j-admin's class in one JVM; script: two JVMs; auto: direct if it starts"
    )
    heap: Size | None = Field(
        None, description="heap of neo4j-admin; without it derived from the memory limit", examples=["96MiB"]
    )
    pagecache: Size | None = Field(
        None, description="page cache of neo4j-admin; without it derived from the memory limit", examples=["16MiB"]
    )
    max_topology_age: PositiveDuration = Field(
        timedelta(hours=24),
        description="how long the last topology is used if Bolt does not answer, before backups by glob fail",
    )

    @field_validator("username_file")
    @classmethod
    def _one_name(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("username", "neo4j") != "neo4j":
            raise ValueError("username or username_file, not both")
        return value

    @field_validator("launch")
    @classmethod
    def _not_beside_a_program(cls, value: str, info: ValidationInfo) -> str:
        if value == "direct" and info.data.get("admin") is not None:
            raise ValueError(
                "auto or script if neo4j.admin is set, because that program is run as it is; or set $NEO4J_HOME instead"
            )
        return value

    @field_validator("ca_file")
    @classmethod
    def _for_a_verified_connection(cls, value: object, info: ValidationInfo) -> object:
        uri = info.data.get("uri")
        if value is not None and uri is not None and "+s:" not in uri:
            raise ValueError("no ca_file unless neo4j.uri has neo4j+s:// or bolt+s://: no other scheme checks a CA")
        return value


Destination = S3Destination
"""The settings type of a destination of any kind.

With a second kind of store this becomes a union, discriminated by `type`.
"""


class Storage(Section):
    """Where artifacts are kept."""

    root: AbsolutePath = Field(
        "/backups", description="folder of the volume: the live chain of each database", validate_default=True
    )
    require_volume: Literal["auto", "always", "never"] = Field(
        "auto", description="whether the root must be on a mounted volume, checked at start; auto: in a container"
    )
    destinations: dict[PlaceName, Destination] = Field({}, description="places with a copy, by name")

    @field_validator("destinations")
    @classmethod
    def _are_different_places(cls, value: dict[PlaceName, S3Destination]) -> dict[PlaceName, S3Destination]:
        if VOLUME in value:
            raise ValueError(f"another name than {VOLUME}, which is the volume's")
        names: dict[str, PlaceName] = {}
        for name, destination in value.items():
            if (other := names.setdefault(destination.identity, name)) != name:
                raise ValueError(f"another place for {name}: {other} is the same place")
        return value


class ChainSection(ChainLimits, Section):
    """The limits of a chain. Beyond any of them, a full backup is taken instead of a differential."""


class Signing(Section):
    """Signatures of records and marks. Signed records stay recognised if the volume is lost."""

    key_file: AbsolutePath | None = Field(
        None,
        description="file with the agent's private key, read at each use; without it nothing is signed",
        examples=["/run/secrets/signing/key.pem"],
    )
    trusted: tuple[Fingerprint, ...] = Field(
        (),
        description="fingerprints of further keys whose signatures count, such as earlier keys of the agent",
        examples=[["sha256:" + 64 * "0"]],
    )
    revoked: dict[Fingerprint, Moment] = Field(
        {},
        description="fingerprints of keys that are not trusted any more, each with the time from which on it may have "
        "been used by others",
        examples=[{"sha256:" + 64 * "0": "2026-11-23T02:00:00Z"}],
    )

    @field_validator("revoked")
    @classmethod
    def _not_trusted_too(cls, value: dict[str, Moment], info: ValidationInfo) -> dict[str, Moment]:
        if both := value.keys() & set(info.data.get("trusted", ())):
            raise ValueError(f"{min(both)} in signing.trusted or here, not in both")
        return value


class Schedule(Attribution, Section):
    """One schedule: when a backup is due, which databases it covers, and the attribution of its requests."""

    cron: CronText = Field(
        description="five fields or @daily and the like, as cron(8) means them", examples=["0 2 * * *"]
    )
    timezone: Zone = Field("UTC", description="IANA zone of the expression", examples=["Europe/Berlin"])
    type: ScheduleType = Field(
        ScheduleType.AUTO, description="FULL, DIFF, or AUTO: the agent decides and says why; DRILL: drills, no backups"
    )
    databases: DatabaseGlobs | None = Field(
        None, description="names and globs; without it the settings' `databases`", examples=[["orders*"]]
    )
    path: DeclaredSet = Field(DEFAULT_SET, description="the set the artifacts belong to", examples=["weekly"])
    misfire: Misfire = Field(Misfire.RUN_ONCE, description="what to do about runs missed while the agent was down")
    jitter: Duration = Field(
        timedelta(0), description="start up to this much later, so that clusters do not all start at once"
    )
    suspend: bool = Field(False, description="start no runs, and do not make up for missed ones")
    promote: Literal["now", "at_next_full"] = Field(
        "now", description="if a differential cannot be taken: a full backup at once, or none until the next one is due"
    )

    @field_validator("jitter")
    @classmethod
    def _is_shorter_than_the_gap(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if value and "cron" in info.data:
            shortest = Cron.parse(info.data["cron"]).gaps().shortest
            if value >= shortest:
                raise ValueError(f"less than the {written_duration(shortest)} between two runs")
        return value

    def timetable(self, name: str, cluster: str) -> Timetable:
        """Return the times at which this schedule is due."""
        return Timetable(
            name=name,
            cron=Cron.parse(self.cron, self.timezone),
            misfire=self.misfire,
            jitter=self.jitter,
            suspend=self.suspend,
            seed=cluster,
        )


class ObjectiveSection(Section):
    """What is expected of the backups of some databases. Health, status and alerts judge by it."""

    databases: GlobOrGlobs = Field(description="names and globs; the first objective that matches applies")
    set: DeclaredSet = Field(DEFAULT_SET, description="the set whose artifacts are judged", examples=["weekly"])
    rpo: PositiveDuration | None = Field(
        None,
        description="how old the newest restore point may become; without it the longest time between two runs of "
        "the schedules of the set",
        examples=["1h"],
    )
    rto: PositiveDuration | None = Field(None, description="how long a restore may take", examples=["15m"])
    copies: Annotated[int, Field(ge=1)] | None = Field(
        None, description="number of places that must have each artifact, the volume included", examples=[2]
    )
    drilled_every: PositiveDuration | None = Field(
        None, description="how old the last drill of each database may become", examples=["7d"]
    )
    grace: Duration | None = Field(
        None,
        description="how much later than due a backup may end; without it half the rpo, at least 15m and at most 2h, "
        "and the jitter of the schedules",
        examples=["2h"],
    )

    @property
    def objective(self) -> Objective:
        """The objective as a value for `core.protection`."""
        return Objective(self.databases, self.set, self.rpo, self.rto, self.copies, self.drilled_every, self.grace)


class AcceptedCheck(Section):
    """Why the outcome of a check is accepted, and until when."""

    reason: str = Field(min_length=1, description="why the outcome is accepted, for those who read it later")
    until: date = Field(description="the last day on which it is accepted", examples=["2027-03-31"])


class DoctorSection(Section):
    """The checks of `doctor`."""

    accept: dict[Check, AcceptedCheck] = Field(
        {},
        description="checks whose warning or failure is known and accepted, by name",
        examples=[{"plain_bolt": {"reason": "TLS comes with the next upgrade", "until": "2027-03-31"}}],
    )

    @property
    def acceptances(self) -> dict[Check, Acceptance]:
        """The accepted checks as values for `core.doctor`."""
        return {check: Acceptance(one.reason, one.until) for check, one in self.accept.items()}


class Restore(Section):
    """Restored databases, and what is kept before a restore."""

    rehearsals: tuple[RehearsalGlob, ...] = Field(
        ("*-restored", "*-restored-[0-9]"),
        description="globs for the names of databases that were restored beside others: nothing is expected of them",
    )
    keep_safety: PositiveDuration = Field(
        timedelta(days=14), description="backups in the set `before-restore` are kept this long"
    )


class Limits(Section):
    """Limits of time and number: how long runs may take, how many run at once, how long things are kept."""

    parallel: Annotated[int, Field(ge=1, le=64)] = Field(1, description="neo4j-admin processes at the same time")
    run_timeout: PositiveDuration = Field(timedelta(hours=6), description="a run of one database is ended after this")
    stall_timeout: PositiveDuration = Field(
        timedelta(minutes=15), description="a run is ended after this long without output or bytes"
    )
    copy_wait: PositiveDuration = Field(
        timedelta(minutes=15), description="a request waits this long for a copy that makes no progress"
    )
    keep_answers: PositiveDuration = Field(
        timedelta(days=30), description="answers and finished requests are kept this long"
    )
    keep_audit: PositiveDuration = Field(timedelta(days=400), description="lines of the audit log are kept this long")
    keep_adhoc: PositiveDuration = Field(
        timedelta(days=7), description="ad hoc sets are kept this long after their last use"
    )
    keep_unrecognised: PositiveDuration = Field(
        timedelta(days=30),
        description="an artifact that an unrecognised record names as its parent is kept this long for it",
        examples=["60d"],
    )
    keep_orphans: PositiveDuration = Field(
        timedelta(days=1), description="orphans are kept this long: files of the agent without a record"
    )
    prune_every: PositiveDuration = Field(
        timedelta(hours=1), description="retention is applied after each success, and at least this often"
    )
    shutdown_grace: Duration = Field(timedelta(minutes=5), description="time a run has left after SIGTERM")


class Http(Section):
    """The addresses of the agent's HTTP servers: metrics, probes and status page, each with a port of its own.

    A flood of requests at one port does not delay the answers at another, so it does not make a probe fail.
    """

    listen: Listen = Field("0.0.0.0:8080", description="host:port of /metrics; port 0 is any free one")
    probes: Listen = Field(
        "0.0.0.0:8081",
        description="host:port of /livez and /readyz, another port; port 0 is any free one",
        validate_default=True,
    )

    page: Listen = Field(
        PAGE,
        description="host:port of the status page and /status.json, another port; port 0 is any free one",
        validate_default=True,
    )

    @field_validator("probes", "page")
    @classmethod
    def _is_another_port(cls, value: str, info: ValidationInfo) -> str:
        port = _host_and_port(value)[1]
        for other, address in info.data.items():
            if port and port == _host_and_port(address)[1]:
                raise ValueError(f"a port of its own, not that of http.{other}")
        return value

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of `listen`; port 0 is any free one."""
        return _host_and_port(self.listen)

    @property
    def page_address(self) -> tuple[str, int]:
        """Host and port of `page`; port 0 is any free one."""
        return _host_and_port(self.page)

    @property
    def probes_address(self) -> tuple[str, int]:
        """Host and port of `probes`; port 0 is any free one."""
        return _host_and_port(self.probes)


def _host_and_port(address: str) -> tuple[str, int]:
    host, port = split_address(address)
    return host, port or 0


class Log(Section):
    """Format and level of the log."""

    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines"
    )
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is written")


class Allow(Section):
    """The actions that requests and commands may ask for. This guards against mistakes, not against attackers."""

    prune_force: bool = Field(
        True, description="`prune --force`: delete more than retention.max_delete_share", examples=[False]
    )
    drop_owed: bool = Field(True, description="`prune --drop-owed`: give up missing copies", examples=[False])
    forget: bool = Field(True, description="`forget`: delete all backups of a dropped database", examples=[False])
    release: bool = Field(True, description="`release`: end a hold", examples=[False])
    adopt_root: bool = Field(True, description="`adopt-root --yes`: take over another agent's places", examples=[False])
    pause: bool = Field(True, description="`pause`: start nothing", examples=[False])


class Requests(Section):
    """The folder into which requests are dropped, and the actions that they may ask for."""

    folder: AbsolutePath = Field(
        "/backup-requests",
        description="folder that requests are dropped into",
        examples=["/data/requests"],
        validate_default=True,
    )
    allow: Allow = _section("what requests may ask for")


class Settings(Section):
    """The settings file of the agent. Only `cluster` and `neo4j.uri` have no default."""

    cluster: Label = Field(description="name of the cluster: in keys, records, metrics", examples=["demo"])
    neo4j: Neo4j = Field(description="where the cluster is, and how neo4j-admin is run against it")
    databases: DatabaseGlobs = Field(
        ("*",), description='the databases of a request that names none: names, globs, "!name" excludes'
    )
    sets: tuple[DeclaredSet, ...] = Field(
        (),
        description="names of sets that requests may use permanently, in addition to `default` and those of schedules",
        examples=[["before-release"]],
    )
    storage: Storage = _section("where artifacts are kept")
    requests: Requests = _section("where requests come from, and what they may ask for")
    retention: Retention | None = Field(None, description="what is kept below storage.root; without it everything")
    chain: ChainSection = _section("when a differential is refused and a full backup taken instead")
    verify: Verify = _section("reading artifacts again")
    drill: Drill = _section("drills: restoring artifacts in a scratch folder")
    signing: Signing = _section("signatures of records and marks")
    schedules: dict[Label, Schedule] = Field(
        {"default": {"cron": "0 2 * * *", "type": "FULL"}},
        description="when to back up what, by name; `{}` for nothing but requests",
        validate_default=True,
    )
    objectives: tuple[ObjectiveSection, ...] = Field(
        (),
        description="what is expected of the backups of which databases",
        examples=[[{"databases": "orders*", "rpo": "1h"}]],
    )
    restore: Restore = _section("restored databases, and what is kept before a restore")
    limits: Limits = _section("limits of time, number and size")
    notify: dict[Label, Receiver] = Field(
        {}, description="receivers of pings at each run and of changes of the health, by name"
    )
    doctor: DoctorSection = _section("checks whose outcome is accepted")
    http: Http = _section("addresses of the agent's HTTP servers")
    log: Log = _section("format and level of the log")

    @field_validator("requests")
    @classmethod
    def _is_outside_the_root(cls, value: Requests, info: ValidationInfo) -> Requests:
        if "storage" in info.data and value.folder.is_relative_to(root := info.data["storage"].root):
            raise ValueError(f"a folder outside storage.root, {root}: in {value.folder}, it would look like a set")
        return value

    @field_validator("drill")
    @classmethod
    def _names_a_place(cls, value: Drill, info: ValidationInfo) -> Drill:
        places = (VOLUME, *info.data["storage"].destinations) if "storage" in info.data else None
        if places is not None and value.place not in {None, *places}:
            raise ValueError(f"one of the places as drill.place: {', '.join(places)}; not {value.place}")
        return value

    @field_validator("notify")
    @classmethod
    def _names_schedules(cls, value: dict[str, Receiver], info: ValidationInfo) -> dict[str, Receiver]:
        known = info.data.get("schedules")
        for name, one in value.items():
            if known is not None and (unknown := set(one.schedules) - known.keys()):
                raise ValueError(f"only names of `schedules` in notify.{name}.schedules, not {min(unknown)}")
        return value

    @field_validator("objectives")
    @classmethod
    def _can_be_met(cls, value: tuple[ObjectiveSection, ...], info: ValidationInfo) -> tuple[ObjectiveSection, ...]:
        places = 1 + len(info.data["storage"].destinations) if "storage" in info.data else None
        if places is not None and any((one.copies or 0) > places for one in value):
            raise ValueError(f"no more copies than places, which are {places}: the volume and each destination")
        return value

    @property
    def declared_sets(self) -> frozenset[SetName]:
        """The sets that are kept permanently and copied. All others are ad hoc."""
        return frozenset({DEFAULT_SET, *self.sets, *(schedule.path for schedule in self.schedules.values())})

    @property
    def policies(self) -> dict[PlaceName, Retention | None]:
        """Place -> its retention policy; None if everything is kept there."""
        return {VOLUME: self.retention, **{name: one.retention for name, one in self.storage.destinations.items()}}

    @property
    def drilled_place(self) -> PlaceName:
        """The place that drills prove if nothing else is asked for."""
        return self.drill.place or next(iter(self.storage.destinations), VOLUME)

    def verify_at(self, place: PlaceName) -> Verify:
        """Return the `verify` settings of a place. Keys that a destination sets take precedence."""
        destination = self.storage.destinations.get(place)
        if destination is None or destination.verify is None:
            return self.verify
        own = {key: getattr(destination.verify, key) for key in destination.verify.model_fields_set}
        return self.verify.model_copy(update=own)

    def timetables(self) -> dict[str, Timetable]:
        """Return the timetable of each schedule, by name."""
        return {name: schedule.timetable(name, self.cluster) for name, schedule in self.schedules.items()}

    def rules(self) -> Rules:
        """Return what is expected of the backups of each database."""
        return Rules(
            schedules=tuple(
                BackupSchedule(
                    schedule.timetable(name, self.cluster), schedule.path, schedule.databases or self.databases
                )
                for name, schedule in self.schedules.items()
                if schedule.type is not ScheduleType.DRILL
            ),
            databases=self.databases,
            objectives=tuple(one.objective for one in self.objectives),
            rehearsals=self.restore.rehearsals,
        )
