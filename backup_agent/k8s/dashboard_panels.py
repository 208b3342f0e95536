"""What the Grafana dashboard shows: a table of panels, in sections that each answer one question.

`dashboard` makes the JSON from it. Most of what an agent can do wrong also has an alert; the panel then names the
alert, and links to its runbook.
"""

from dataclasses import dataclass
from enum import StrEnum

GREEN, YELLOW, RED, PLAIN = "green", "yellow", "red", "text"

ANY_DATABASE = '{database=~"$database"}'

SUM = "sum by (namespace, cluster)"
AGENT = "max by (namespace, cluster)"
DATABASE = "max by (namespace, cluster, set, database)"
PLACE = "max by (namespace, cluster, place)"
DESTINATION = "max by (namespace, cluster, destination)"
SCHEDULE = "max by (namespace, cluster, schedule)"

CLUSTER_NAME = "{{cluster}}"
DATABASE_NAME = "{{cluster}}/{{set}}/{{database}}"


class PanelKind(StrEnum):
    """Kinds of panels, by the name of Grafana's plugin."""

    STAT = "stat"
    SERIES = "timeseries"
    TABLE = "table"
    TEXT = "text"


class Unit(StrEnum):
    """Units of values, by Grafana's ids."""

    NUMBER = "none"
    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "percentunit"
    MOMENT = "dateTimeFromNow"
    """Milliseconds since 1970, shown as the time from or until now."""


Steps = tuple[tuple[float | None, str], ...]
"""From which value on a value has which color. The first step has no value."""

Texts = tuple[tuple[str, str, str], ...]
"""A value, the text shown in its place, and its color."""

ALL_GREEN: Steps = ((None, GREEN),)
NONE_IS_GOOD: Steps = ((None, GREEN), (1, RED))
FEW_ARE_FINE: Steps = ((None, GREEN), (1, YELLOW))
NOT_BELOW_ZERO: Steps = ((None, RED), (0, GREEN))

GOOD_YES: Texts = (("0", "no", RED), ("1", "yes", GREEN))
GOOD_NO: Texts = (("0", "no", GREEN), ("1", "yes", RED))


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel."""

    expression: str
    """Its series have the labels `job` and `instance` of the agent, so no aggregation in it may drop them."""
    across: str
    """The aggregation over the series of all agents, such as `SUM`."""
    name: str = ""
    """Legend of the series, a template of Grafana. In a table the heading of the column; without it no column."""
    unit: Unit | None = None
    """Unit of the column, if it is not that of the table."""
    texts: Texts = ()
    """Texts of the column."""
    or_zero: bool = False
    """Whether an agent without such series counts as 0. Only with `SUM` and `AGENT`."""
    selects_agents: bool = False
    """Whether the expression itself selects the agents. It is used as it is then."""


@dataclass(frozen=True)
class DashboardPanel:
    """One panel."""

    title: str
    description: str
    kind: PanelKind
    queries: tuple[PanelQuery, ...] = ()
    alerts: tuple[str, ...] = ()
    """Names of the alerts to whose runbooks the panel links."""
    unit: Unit = Unit.NUMBER
    steps: Steps = ALL_GREEN
    texts: Texts = ()
    width: int = 8
    """In columns; the dashboard has 24."""
    height: int = 8
    stacked: bool = False
    markdown: str = ""
    """Content of a panel of text."""


@dataclass(frozen=True)
class DashboardSection:
    """Panels that answer one question."""

    question: str
    panels: tuple[DashboardPanel, ...]


def stat(
    title: str,
    description: str,
    query: PanelQuery,
    *alerts: str,
    unit: Unit = Unit.NUMBER,
    steps: Steps = ALL_GREEN,
    texts: Texts = (),
) -> DashboardPanel:
    """Return a panel with one number for each cluster."""
    return DashboardPanel(title, description, PanelKind.STAT, (query,), alerts, unit, steps, texts, width=4, height=4)


def series(
    title: str,
    description: str,
    *queries: PanelQuery,
    alerts: tuple[str, ...] = (),
    unit: Unit = Unit.NUMBER,
    steps: Steps = ALL_GREEN,
    stacked: bool = False,
) -> DashboardPanel:
    """Return a panel with values over time."""
    return DashboardPanel(title, description, PanelKind.SERIES, queries, alerts, unit, steps, stacked=stacked)


def table(
    title: str,
    description: str,
    *queries: PanelQuery,
    alerts: tuple[str, ...] = (),
    unit: Unit = Unit.NUMBER,
    texts: Texts = (),
    width: int = 8,
) -> DashboardPanel:
    """Return a panel with a row for each combination of labels, and a column for each query."""
    return DashboardPanel(title, description, PanelKind.TABLE, queries, alerts, unit, texts=texts, width=width)


def count(expression: str) -> PanelQuery:
    """Return a query for the sum of the series of each cluster, which is 0 without series."""
    return PanelQuery(expression, SUM, CLUSTER_NAME, or_zero=True)


def one(expression: str) -> PanelQuery:
    """Return a query for the value of each cluster."""
    return PanelQuery(expression, AGENT, CLUSTER_NAME)


PROTECTION = DashboardSection(
    "Am I protected?",
    (
        stat(
            "Health",
            "The judgement of the agent, as in the first line of `backup-agent status`.",
            one("neo4j_backup_health"),
            texts=(("0", "OK", GREEN), ("1", "DEGRADED", YELLOW), ("2", "FAILING", RED)),
        ),
        stat(
            "Protected databases",
            "Databases whose newest restore point is within their RPO and grace, counted in each set.",
            count('neo4j_backup_protection{state="protected", database=~"$database"}'),
        ),
        stat(
            "Late databases",
            "Databases whose newest restore point is older than their RPO and grace.",
            count('neo4j_backup_protection{state="late", database=~"$database"}'),
            "Neo4jBackupStale",
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Unprotected databases",
            "Databases that no schedule matches, or that have no restore point although one was due.",
            count('neo4j_backup_protection{state="unprotected", database=~"$database"}'),
            "Neo4jBackupUnprotected",
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Damaged everywhere",
            "Whether an artifact is damaged at each place, and its database has no newer FULL.",
            one("neo4j_backup_damaged_everywhere"),
            "Neo4jBackupDamagedEverywhere",
            texts=GOOD_NO,
        ),
        stat(
            "Absent agents",
            "Agents that Prometheus scraped within three days, and does not scrape any more.",
            PanelQuery(
                "count(\n"
                "  group by (namespace, cluster) (last_over_time({agents}[3d]))\n"
                "    unless on (namespace, cluster)\n"
                "  {agents}\n"
                ")\n"
                "  or\n"
                "vector(0)",
                "",
                "absent",
                selects_agents=True,
            ),
            "Neo4jBackupAgentAbsent",
            steps=NONE_IS_GOOD,
        ),
        table(
            "Databases",
            "RPO: how old the newest restore point may become. Due: when the next backup must have ended.",
            PanelQuery(f"neo4j_backup_protection{ANY_DATABASE}", "max by (namespace, cluster, set, database, state)"),
            PanelQuery(f"neo4j_backup_age_seconds{ANY_DATABASE}", DATABASE, "Age", Unit.SECONDS),
            PanelQuery(f"neo4j_backup_rpo_seconds{ANY_DATABASE}", DATABASE, "RPO", Unit.SECONDS),
            PanelQuery(f"neo4j_backup_deadline_timestamp_seconds{ANY_DATABASE} * 1000", DATABASE, "Due", Unit.MOMENT),
            PanelQuery(
                'neo4j_backup_last_success_timestamp_seconds{type="FULL", database=~"$database"} * 1000',
                DATABASE,
                "Last FULL",
                Unit.MOMENT,
            ),
            PanelQuery(f"neo4j_backup_artifacts{ANY_DATABASE}", DATABASE, "Artifacts"),
            texts=(
                ("protected", "protected", GREEN),
                ("waiting", "waiting", YELLOW),
                ("late", "late", RED),
                ("unprotected", "unprotected", RED),
                ("missing", "missing", YELLOW),
            ),
            width=16,
        ),
        table(
            "Firing alerts",
            "Empty if no alert fires, and also if Prometheus does not evaluate the alert rules.",
            PanelQuery(
                'max by (namespace, cluster, alertname, severity) (ALERTS{{alertname=~"Neo4jBackup.*", '
                'alertstate="firing", cluster=~"$cluster", namespace=~"$namespace"}})',
                "",
                selects_agents=True,
            ),
            texts=(("critical", "critical", RED), ("warning", "warning", YELLOW)),
        ),
    ),
)

LATENESS = DashboardSection(
    "What is late?",
    (
        series(
            "Time until the next backup is due",
            "Below zero, the database is late.",
            PanelQuery(f"neo4j_backup_deadline_timestamp_seconds{ANY_DATABASE} - time()", DATABASE, DATABASE_NAME),
            alerts=("Neo4jBackupStale",),
            unit=Unit.SECONDS,
            steps=NOT_BELOW_ZERO,
        ),
        series(
            "Age of the newest restore point",
            "What would be lost if the database were lost now.",
            PanelQuery(f"neo4j_backup_age_seconds{ANY_DATABASE}", DATABASE, DATABASE_NAME),
            unit=Unit.SECONDS,
        ),
        table(
            "Failed backups",
            "Databases whose last backup failed, by reason. Kept until a backup succeeds.",
            PanelQuery(
                f"neo4j_backup_last_failure_timestamp_seconds{ANY_DATABASE} * 1000",
                "max by (namespace, cluster, set, database, reason)",
                "Failed",
            ),
            alerts=("Neo4jBackupFailed",),
            unit=Unit.MOMENT,
        ),
        table(
            "Schedules",
            "When each schedule is due next, and the due times that it has missed since the agent started.",
            PanelQuery("neo4j_backup_schedule_next_timestamp_seconds * 1000", SCHEDULE, "Due", Unit.MOMENT),
            PanelQuery("neo4j_backup_schedule_expected_interval_seconds", SCHEDULE, "Interval", Unit.SECONDS),
            PanelQuery("neo4j_backup_schedule_missed_total", SCHEDULE, "Missed"),
            PanelQuery("neo4j_backup_schedule_suspended", SCHEDULE, "Suspended", texts=GOOD_NO),
            alerts=("Neo4jBackupScheduleMissed",),
            width=12,
        ),
        table(
            "Databases that are not backed up",
            "Databases that the agent leaves out because of their kind, such as aliases and composite databases.",
            PanelQuery("neo4j_backup_databases_excluded", "max by (namespace, cluster, kind)", "Databases"),
            width=4,
        ),
        stat(
            "Refused databases",
            "Databases that are not backed up because of their names.",
            count("neo4j_backup_databases_refused"),
            "Neo4jBackupDatabasesRefused",
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Missing databases",
            "Databases that have backups, and that SHOW DATABASES no longer lists.",
            count("neo4j_backup_database_missing"),
            "Neo4jBackupDatabaseMissing",
            steps=FEW_ARE_FINE,
        ),
    ),
)

RESTORING = DashboardSection(
    "How long would a restore take?",
    (
        table(
            "Estimated time to restore",
            "That of the last drill of each database, from the fetch to the restored database. A database that was "
            "never drilled has none.",
            PanelQuery(
                f"neo4j_backup_restore_estimated_seconds{ANY_DATABASE}",
                "max by (namespace, cluster, place, set, database)",
                "Time",
            ),
            unit=Unit.SECONDS,
        ),
        series(
            "Duration of drills",
            "By level: reading the artifact, restoring it, checking its consistency, running queries.",
            PanelQuery(
                f"neo4j_backup_drill_duration_seconds{ANY_DATABASE}",
                "max by (namespace, cluster, place, set, database, level)",
                f"{DATABASE_NAME} from {{{{place}}}}: {{{{level}}}}",
            ),
            unit=Unit.SECONDS,
        ),
        series(
            "Length of the live chain",
            "Artifacts that a restore of the newest point applies: the FULL and its differentials.",
            PanelQuery(f"neo4j_backup_chain_length{ANY_DATABASE}", DATABASE, DATABASE_NAME),
        ),
    ),
)

PROOF = DashboardSection(
    "Are the artifacts sound? Drills and verification",
    (
        stat(
            "Damaged artifacts",
            "Artifacts whose content is missing or differs from their record, at all places.",
            count("neo4j_backup_artifacts_damaged"),
            "Neo4jBackupDamaged",
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Unrestorable artifacts",
            "Artifacts that cannot be restored because something that they need is missing or damaged.",
            count("neo4j_backup_unrestorable_artifacts"),
            "Neo4jBackupChainBroken",
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Unreadable artifacts",
            "Artifacts that cannot be verified: a record, mark or file is unreadable, or there is no record.",
            count("neo4j_backup_unreadable_artifacts"),
            "Neo4jBackupUnreadable",
            steps=FEW_ARE_FINE,
        ),
        stat(
            "Unrecognised records",
            "Records that the agent neither wrote nor accepted. They are not restore points.",
            count("neo4j_backup_unrecognised_records"),
            "Neo4jBackupUnrecognised",
            steps=FEW_ARE_FINE,
        ),
        stat(
            "Failed drills",
            "Databases whose last drill found a damaged artifact or unexpected content.",
            count(f"neo4j_backup_drill_failed{ANY_DATABASE}"),
            "Neo4jBackupDrillFailed",
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Overdue drills",
            "Databases that were not drilled as their objective says.",
            count(f"neo4j_backup_drill_overdue{ANY_DATABASE}"),
            "Neo4jBackupDrillOverdue",
            steps=FEW_ARE_FINE,
        ),
        table(
            "Passed drills",
            "When a drill of each database last passed each level.",
            PanelQuery(
                f"neo4j_backup_drill_passed_timestamp_seconds{ANY_DATABASE} * 1000",
                "max by (namespace, cluster, place, set, database, level)",
                "Passed",
            ),
            unit=Unit.MOMENT,
        ),
        series(
            "Longest time without verification",
            "Of the artifact that has waited longest, at each place.",
            PanelQuery("time() - neo4j_backup_verify_oldest_timestamp_seconds", PLACE, "{{cluster}} {{place}}"),
            alerts=("Neo4jBackupVerifyLate",),
            unit=Unit.SECONDS,
        ),
        series(
            "Verified artifacts",
            "Artifacts that were read again since the agent started, by result.",
            PanelQuery(
                "neo4j_backup_verify_total",
                "max by (namespace, cluster, place, outcome)",
                "{{cluster}} {{place}}: {{outcome}}",
            ),
        ),
    ),
)

SPACE = DashboardSection(
    "Where does the space go?",
    (
        series(
            "Volume",
            "The volume of the agent.",
            PanelQuery("neo4j_backup_volume_size_bytes", AGENT, "{{cluster}}: size"),
            PanelQuery("neo4j_backup_volume_size_bytes - neo4j_backup_volume_free_bytes", AGENT, "{{cluster}}: used"),
            alerts=("Neo4jBackupVolumeFull",),
            unit=Unit.BYTES,
        ),
        series(
            "Artifacts on the volume, by database",
            "Bytes of recorded artifacts.",
            PanelQuery(f"neo4j_backup_storage_bytes{ANY_DATABASE}", DATABASE, DATABASE_NAME),
            unit=Unit.BYTES,
            stacked=True,
        ),
        series(
            "Live chain, by type",
            "Bytes of the chains that the next differentials continue.",
            PanelQuery(
                f"neo4j_backup_chain_bytes{ANY_DATABASE}",
                "sum by (namespace, cluster, type)",
                "{{cluster}}: {{type}}",
            ),
            unit=Unit.BYTES,
            stacked=True,
        ),
        stat(
            "Free space of the volume",
            "As a share of its size.",
            one("neo4j_backup_volume_free_bytes / neo4j_backup_volume_size_bytes"),
            "Neo4jBackupVolumeFull",
            unit=Unit.SHARE,
            steps=((None, RED), (0.05, YELLOW), (0.2, GREEN)),
        ),
        stat(
            "Volume is full",
            "When the volume will be full at the present rate. No data: it does not grow, or not long enough.",
            one("neo4j_backup_volume_full_timestamp_seconds * 1000"),
            "Neo4jBackupVolumeFull",
            unit=Unit.MOMENT,
        ),
        series(
            "Newest artifacts",
            "Bytes of the newest artifact of each database.",
            PanelQuery(f"neo4j_backup_last_artifact_bytes{ANY_DATABASE}", DATABASE, DATABASE_NAME),
            unit=Unit.BYTES,
        ),
        series(
            "Written in a day",
            "Bytes of artifacts that were stored on the volume, and copied to destinations.",
            PanelQuery(
                "increase(neo4j_backup_bytes_total[1d])",
                "sum by (namespace, cluster, place, type)",
                "{{cluster}} {{place}}: {{type}}",
            ),
            unit=Unit.BYTES,
        ),
    ),
)

DELETION = DashboardSection(
    "What will be deleted?",
    (
        table(
            "Retention",
            "When retention was last applied at each place since the agent started, and why it is blocked.",
            PanelQuery("neo4j_backup_retention_timestamp_seconds * 1000", PLACE, "Applied", Unit.MOMENT),
            PanelQuery("neo4j_backup_retention_blocked", "max by (namespace, cluster, place, reason)"),
            alerts=("Neo4jBackupRetentionBlocked",),
        ),
        series(
            "Deleted in a day",
            "Artifacts that retention deleted. If backups and rules stay as they are, the next day is like the last.",
            PanelQuery("increase(neo4j_backup_retention_deleted_total[1d])", PLACE, "{{cluster}} {{place}}"),
        ),
        series(
            "Freed in a day",
            "Bytes that retention freed, without those that a store keeps as old versions.",
            PanelQuery("increase(neo4j_backup_retention_freed_bytes_total[1d])", PLACE, "{{cluster}} {{place}}"),
            unit=Unit.BYTES,
        ),
        stat(
            "Retention has rules",
            "Without a rule nothing is deleted, and the volume fills up.",
            one("neo4j_backup_retention_configured"),
            texts=(("0", "no", YELLOW), ("1", "yes", GREEN)),
        ),
        DashboardPanel(
            "Before it is deleted",
            "",
            PanelKind.TEXT,
            width=20,
            height=4,
            markdown="Metrics do not name single artifacts. In the agent's pod:\n\n"
            "- `backup-agent plan` shows what the next pass of retention deletes, and why everything else is kept;\n"
            "- `backup-agent why ARTIFACT` shows until when one artifact is kept;\n"
            "- `backup-agent hold ARTIFACT --reason TEXT` keeps it.\n",
        ),
    ),
)

COPIES = DashboardSection(
    "Are there copies? Destinations",
    (
        table(
            "Destinations",
            "Reached: whether the destination answered and accepted copies when it was last used. Awaited: copies for "
            "which requests wait.",
            PanelQuery("neo4j_backup_storage_up", DESTINATION, "Reached", texts=GOOD_YES),
            PanelQuery("neo4j_backup_copies_owed", DESTINATION, "Missing copies"),
            PanelQuery("neo4j_backup_copies_awaited", DESTINATION, "Awaited"),
            alerts=("Neo4jBackupCopiesMissing",),
        ),
        series(
            "Missing copies",
            "Artifacts on the volume whose copy is missing at a destination. They are not deleted from the volume.",
            PanelQuery("neo4j_backup_copies_owed", DESTINATION, "{{cluster}} {{destination}}"),
            alerts=("Neo4jBackupCopiesMissing",),
        ),
        series(
            "Failed copies",
            "Tries since the agent started, by reason.",
            PanelQuery(
                "neo4j_backup_storage_errors_total",
                "max by (namespace, cluster, destination, reason)",
                "{{cluster}} {{destination}}: {{reason}}",
            ),
        ),
    ),
)

WORK = DashboardSection(
    "What is the agent doing? Queue and durations",
    (
        series(
            "Queue",
            "Requests that wait or run.",
            PanelQuery("neo4j_backup_queue_depth", AGENT, CLUSTER_NAME),
        ),
        series(
            "Longest wait",
            "Age of the oldest request that has not started.",
            PanelQuery("neo4j_backup_queue_oldest_seconds", AGENT, CLUSTER_NAME),
            alerts=("Neo4jBackupQueueStuck",),
            unit=Unit.SECONDS,
        ),
        series(
            "Running backups",
            "For how long each has been running.",
            PanelQuery(
                f"neo4j_backup_in_progress_seconds{ANY_DATABASE}",
                "max by (namespace, cluster, set, database, stage)",
                f"{DATABASE_NAME}: {{{{stage}}}}",
            ),
            unit=Unit.SECONDS,
        ),
        series(
            "Mean duration of each stage",
            "Of all backups since the agent started.",
            PanelQuery(
                "neo4j_backup_stage_duration_seconds_sum / neo4j_backup_stage_duration_seconds_count",
                "max by (namespace, cluster, stage)",
                "{{cluster}}: {{stage}}",
            ),
            unit=Unit.SECONDS,
        ),
        series(
            "Ended backups",
            "Backups of one database since the agent started, by outcome and reason.",
            PanelQuery(
                f"neo4j_backup_runs_total{ANY_DATABASE}",
                "sum by (namespace, cluster, type, outcome, reason)",
                "{{cluster}} {{type}}: {{outcome}} {{reason}}",
            ),
        ),
        series(
            "FULL in place of DIFF",
            "Backups since the agent started that were requested as DIFF or AUTO and taken as FULL, by reason.",
            PanelQuery(
                f"neo4j_backup_full_promotions_total{ANY_DATABASE}",
                "sum by (namespace, cluster, set, database, reason)",
                f"{DATABASE_NAME}: {{{{reason}}}}",
            ),
            alerts=("Neo4jBackupOftenFullForDiff",),
        ),
    ),
)

AGENTS = DashboardSection(
    "Does the agent work?",
    (
        stat(
            "Ready",
            "Whether the agent takes requests.",
            one("neo4j_backup_ready"),
            "Neo4jBackupNotReady",
            texts=GOOD_YES,
        ),
        stat(
            "Bolt answers",
            "Whether Bolt answered the last query.",
            one("neo4j_backup_bolt_up"),
            "Neo4jBackupBoltDown",
            texts=GOOD_YES,
        ),
        stat(
            "Settings valid",
            "Whether the settings file has no fault. If it has one, the last valid settings are in force.",
            one("neo4j_backup_config_valid"),
            "Neo4jBackupSettingsInvalid",
            texts=GOOD_YES,
        ),
        stat(
            "Paused",
            "Whether the agent is paused. No backup is made during a pause.",
            one("neo4j_backup_paused"),
            "Neo4jBackupPaused",
            texts=(("0", "no", GREEN), ("1", "yes", YELLOW)),
        ),
        stat(
            "Signing fault",
            "Whether records are written without a signature although the settings name a key.",
            one("neo4j_backup_signing_fault"),
            "Neo4jBackupUnsigned",
            texts=GOOD_NO,
        ),
        stat(
            "Forked audit logs",
            "How often a destination had other lines of the audit log than the volume, since the agent started.",
            count('neo4j_backup_audit_forks_total{because="forked"}'),
            "Neo4jBackupAuditForked",
            steps=NONE_IS_GOOD,
        ),
        table(
            "Doctor",
            "Outcome of each check of the last doctor, and how many times in a row it has failed.",
            PanelQuery(
                "neo4j_backup_check",
                "max by (namespace, cluster, check, place)",
                "Outcome",
                texts=(("0", "ok", GREEN), ("1", "warning", YELLOW), ("2", "failed", RED)),
            ),
            PanelQuery("neo4j_backup_check_failed_runs", "max by (namespace, cluster, check, place)", "Failed runs"),
            alerts=("Neo4jBackupCheckFailed",),
        ),
        table(
            "Agents",
            "The version of each agent; when its settings were read, and when Bolt gave the topology in use.",
            PanelQuery("neo4j_backup_build_info", "max by (namespace, cluster, version)"),
            PanelQuery("neo4j_backup_config_last_reload_timestamp_seconds * 1000", AGENT, "Settings"),
            PanelQuery("neo4j_backup_topology_timestamp_seconds * 1000", AGENT, "Topology"),
            unit=Unit.MOMENT,
        ),
        series(
            "Offset of the clock",
            "The servers' clock minus the agent's. Nothing is deleted as long as they differ by minutes.",
            PanelQuery("neo4j_backup_clock_offset_seconds", AGENT, CLUSTER_NAME),
            alerts=("Neo4jBackupClockOff",),
            unit=Unit.SECONDS,
        ),
    ),
)

SECTIONS = (PROTECTION, LATENESS, RESTORING, PROOF, SPACE, DELETION, COPIES, WORK, AGENTS)
"""The most important question first."""
