"""Prometheus metrics. Gauges are computed from the Status at each scrape; a gauge with an unknown value is absent.

Only counters and histograms are stored here, since the start of the agent. Values of labels come from settings and
closed lists, never from free text of a request.
"""

from collections.abc import Callable, Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from backup_agent.core.artifacts.keys import split_database_key
from backup_agent.core.doctor.checks import CheckOutcome
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.protection.health import HealthState, ProblemKind
from backup_agent.core.status import Status
from backup_agent.settings.unprotected import KINDS

PREFIX = "neo4j_backup"
STAGE_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 10800, 21600)


CHECK_VALUES = {CheckOutcome.OK: 0.0, CheckOutcome.WARN: 1.0, CheckOutcome.FAIL: 2.0}


class Metrics:
    """The counters, and the page /metrics."""

    def __init__(self, status: Callable[[], Status]) -> None:
        """`status` is called once a scrape."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client gives it no types
        registry = CollectorRegistry()
        registry.register(StatusCollector(status))
        self._registry = registry
        self.runs = Counter(
            f"{PREFIX}_runs",
            "Backups of one database that ended, by outcome and reason.",
            ["set", "database", "type", "trigger", "outcome", "reason"],
            registry=registry,
        )
        self.promotions = Counter(
            f"{PREFIX}_full_promotions",
            "Backups requested as DIFF or AUTO that were taken as FULL, by reason.",
            ["set", "database", "reason"],
            registry=registry,
        )
        self.requests = Counter(
            f"{PREFIX}_requests",
            "Requests that ended, by action and final state.",
            ["action", "outcome"],
            registry=registry,
        )
        self.bytes = Counter(
            f"{PREFIX}_bytes",
            "Bytes of artifacts that were stored on the volume or copied to a destination.",
            ["place", "type"],
            registry=registry,
        )
        self.storage_errors = Counter(
            f"{PREFIX}_storage_errors", "Copies that failed, by reason.", ["destination", "reason"], registry=registry
        )
        self.stages = Histogram(
            f"{PREFIX}_stage_duration_seconds",
            "Duration of each stage of a backup.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.deleted = Counter(
            f"{PREFIX}_retention_deleted", "Artifacts that retention deleted.", ["place"], registry=registry
        )
        self.freed = Counter(
            f"{PREFIX}_retention_freed_bytes",
            "Bytes that retention freed, without those that a store keeps as old versions.",
            ["place"],
            registry=registry,
        )
        self.passes = Counter(
            f"{PREFIX}_retention_passes",
            "Passes of retention: applied, or refused with a reason.",
            ["place", "outcome", "reason"],
            registry=registry,
        )
        self.verifications = Counter(
            f"{PREFIX}_verify", "Artifacts that were read again, by result.", ["place", "outcome"], registry=registry
        )
        self.audit_epochs = Counter(
            f"{PREFIX}_audit_forks",
            "Times that a destination had other lines of the audit log than the volume, by cause.",
            ["place", "because"],
            registry=registry,
        )
        self.notifications = Counter(
            f"{PREFIX}_notifications",
            "Notifications that were sent, tries that failed, and notifications that were dropped after several tries.",
            ["receiver", "outcome"],
            registry=registry,
        )
        self.deaf = Counter(
            f"{PREFIX}_watch_restarts",
            "Times that the agent began to watch the requests folder again, because the folder had been replaced.",
            registry=registry,
        )

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the text of /metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)


class StatusCollector(Collector):
    """Computes the metric families from the Status at each scrape."""

    def __init__(self, status: Callable[[], Status]) -> None:
        """`status` is called once a scrape."""
        self._status = status

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not call `collect`: there is no Status yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each family that has at least one sample."""
        status = self._status()
        for family in (
            *_agent(status),
            *_databases(status),
            *_drills(status),
            *_schedules(status),
            *_storage(status),
        ):
            if family.samples:
                yield family


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


def _value(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    family = _gauge(name, text)
    if value is not None:
        family.add_metric((), value)
    return family


def _agent(status: Status) -> Iterator[Metric]:
    info = InfoMetricFamily(f"{PREFIX}_build", "The agent's version and cluster.")
    info.add_metric((), {"version": status.version, "cluster": status.cluster})
    yield info
    yield _value(
        "health",
        "The health: 0 OK, 1 DEGRADED, 2 FAILING.",
        None if status.health is None else list(HealthState).index(status.health.state),
    )
    oldest = status.queue_oldest
    yield _value("ready", "1 while the agent takes requests.", float(status.ready))
    yield _value("paused", "1 while the agent is paused.", float(status.paused is not None))
    yield _value(
        "pause_overlong",
        "1 if the agent has been paused for more than a day.",
        float(status.paused is not None and status.paused.overlong),
    )
    yield _value(
        "requests_watched",
        "1 while a new request is noticed at once, 0 while the requests folder is listed every 5 seconds instead.",
        float(status.requests_watched),
    )
    yield _value("queue_depth", "Requests that wait or run.", status.queue_depth)
    yield _value(
        "queue_oldest_seconds",
        "Age of the oldest request of any kind that has not started.",
        None if oldest is None else max(0.0, (status.now - oldest).total_seconds()),
    )
    yield _value(
        "config_valid",
        "1 if the settings file has no fault, 0 if it has one and the last good settings are in force.",
        float(status.settings_valid),
    )
    yield _value(
        "config_last_reload_timestamp_seconds",
        "Time at which the settings in force were read.",
        status.settings_loaded.timestamp(),
    )
    yield _value("bolt_up", "1 if Bolt answered when it was last queried.", status.bolt_up)
    unprotected = _gauge(
        "connection_unprotected",
        "1 if the settings leave a connection without encryption or without a check of the certificate, by kind.",
        ("kind",),
    )
    for kind in KINDS:
        unprotected.add_metric((kind,), float(kind in status.unprotected_connections))
    yield unprotected
    yield _value(
        "databases_refused",
        "Databases that are not backed up because of their names, according to the last answer of Bolt.",
        status.databases_refused,
    )
    yield _value(
        "signing_fault",
        "1 if records are written without a signature although the settings name a key.",
        int(status.signing_fault is not None),
    )
    yield from _checks(status)
    seen = status.topology_seen
    yield _value(
        "topology_timestamp_seconds",
        "Time at which Bolt gave the topology that is in use.",
        None if seen is None else seen.timestamp(),
    )
    yield _value(
        "clock_offset_seconds",
        "The servers' clock minus the agent's, at the last answer of Bolt.",
        status.clock_offset_seconds,
    )
    running = _gauge("in_progress", "Backups that are running.", ("set", "database"))
    seconds = _gauge(
        "in_progress_seconds", "Seconds for which a backup has been running.", ("set", "database", "stage")
    )
    for run in status.running:
        if run.kind == "backup" and run.set is not None and run.database is not None:
            running.add_metric((run.set, run.database), 1)
            seconds.add_metric((run.set, run.database, run.stage or "start"), run.seconds)
    yield running
    yield seconds


def _checks(status: Status) -> Iterator[Metric]:
    """Yield the outcomes of the doctor's last run. A check that could not look has no outcome."""
    labels = ("check", "place")
    outcome = _gauge("check", "Outcome of a check of the last doctor: 0 ok or accepted, 1 warning, 2 failed.", labels)
    runs = _gauge("check_failed_runs", "Number of runs of the doctor in a row in which a check has failed.", labels)
    for one in status.doctor.checks if status.doctor else ():
        series = (one.finding.check.value, one.finding.place or "")
        if one.finding.counts in CHECK_VALUES:
            outcome.add_metric(series, CHECK_VALUES[one.finding.counts])
        runs.add_metric(series, one.failed_runs)
    ended = None if status.doctor is None else status.doctor.ended.timestamp()
    yield from (outcome, runs, _value("doctor_timestamp_seconds", "Time at which the last doctor ended.", ended))


def _databases(status: Status) -> Iterator[Metric]:
    key = ("cluster", "set", "database")
    success = _gauge(
        "last_success_timestamp_seconds",
        "Time at which the newest restorable artifact was finished. A FULL also counts as the newest DIFF.",
        (*key, "type"),
    )
    age = _gauge("age_seconds", "Age of the newest restorable artifact.", key)
    artifacts = _gauge("artifacts", "Recorded artifacts on the volume.", key)
    size = _gauge("storage_bytes", "Bytes of recorded artifacts on the volume.", key)
    newest = _gauge("last_artifact_bytes", "Bytes of the newest artifact.", key)
    links = _gauge("chain_length", "Artifacts of the live chain, including its FULL.", key)
    chain = _gauge("chain_bytes", "Bytes of the live chain.", (*key, "type"))
    for one in status.databases or ():
        labels = (status.cluster, one.set, one.database)
        for type_, moment in one.last_success.items():
            success.add_metric((*labels, type_), moment.timestamp())
        if one.last_success:
            age.add_metric(labels, max(0.0, (status.now - max(one.last_success.values())).total_seconds()))
        artifacts.add_metric(labels, one.artifacts)
        size.add_metric(labels, one.size)
        newest.add_metric(labels, one.newest_size)
        links.add_metric(labels, one.chain_links)
        for type_, total in one.chain_size.items():
            chain.add_metric((*labels, type_), total)
    yield from (success, age, artifacts, size, newest, links, chain)
    yield from _protection(status)
    attempt = _gauge(
        "last_attempt_timestamp_seconds",
        "Time at which a backup last ended since the agent started, or last failed.",
        key,
    )
    failure = _gauge(
        "last_failure_timestamp_seconds",
        "Time at which a backup last failed, by reason. Kept over restarts until a backup succeeds.",
        (*key, "reason"),
    )
    for name, last in status.attempts.items():
        set_name, database = split_database_key(name)
        of_attempt = (status.cluster, set_name, database)
        attempt.add_metric(of_attempt, last.at.timestamp())
        if last.failed_at is not None:
            failure.add_metric((*of_attempt, last.reason or ""), last.failed_at.timestamp())
    yield attempt
    yield failure
    missing = _gauge(
        "database_missing",
        "1 for each database that was known before and that SHOW DATABASES no longer lists.",
        ("database",),
    )
    for database in status.missing_databases:
        missing.add_metric((database,), 1)
    yield missing
    excluded = _gauge(
        "databases_excluded", "Databases that are not backed up because of their kind, by kind.", ("kind",)
    )
    if status.excluded_databases is not None:
        kinds = [one.kind for one in status.excluded_databases.values()]
        for kind in ExcludedKind:
            excluded.add_metric((kind,), kinds.count(kind))
    yield excluded


def _protection(status: Status) -> Iterator[Metric]:
    key = ("cluster", "set", "database")
    state = _gauge("protection", "1 for the state of each database in each set.", (*key, "state"))
    rpo = _gauge(
        "rpo_seconds",
        "How old the newest restorable artifact may become: by an objective, else the expected interval of the "
        "schedules.",
        key,
    )
    grace = _gauge("grace_seconds", "How much later than due a backup may end.", key)
    deadline = _gauge(
        "deadline_timestamp_seconds",
        "Time at which the next success is expected at the latest. From then on the database is late, or unprotected "
        "if it has no restore point.",
        key,
    )
    for one in status.protection or ():
        labels = (status.cluster, one.set, one.database)
        state.add_metric((*labels, one.state.value), 1)
        if one.rpo_seconds is not None:
            rpo.add_metric(labels, one.rpo_seconds)
        if one.grace_seconds is not None:
            grace.add_metric(labels, one.grace_seconds)
        if one.deadline is not None:
            deadline.add_metric(labels, one.deadline.timestamp())
    yield from (state, rpo, grace, deadline)


def _schedules(status: Status) -> Iterator[Metric]:
    following = _gauge("schedule_next_timestamp_seconds", "Time at which a schedule is due next.", ("schedule",))
    interval = _gauge(
        "schedule_expected_interval_seconds", "Longest time between two runs of a schedule.", ("schedule",)
    )
    suspended = _gauge("schedule_suspended", "1 if a schedule is suspended.", ("schedule",))
    missed = CounterMetricFamily(f"{PREFIX}_schedule_missed", "Due times that were missed.", labels=("schedule",))
    coalesced = CounterMetricFamily(
        f"{PREFIX}_schedule_coalesced",
        "Due times that were served by a request that already waited.",
        labels=("schedule",),
    )
    for name, one in status.schedules.items():
        if one.next_runs:
            following.add_metric((name,), one.next_runs[0].timestamp())
        if one.expected_interval_seconds is not None:
            interval.add_metric((name,), one.expected_interval_seconds)
        suspended.add_metric((name,), float(one.suspended))
        missed.add_metric((name,), one.missed)
        coalesced.add_metric((name,), one.coalesced)
    yield from (following, interval, suspended, missed, coalesced)


def _drills(status: Status) -> Iterator[Metric]:
    of_database = ("place", "set", "database")
    passed = _gauge(
        "drill_passed_timestamp_seconds", "Time at which a drill last passed a level.", (*of_database, "level")
    )
    failed = _gauge(
        "drill_failed",
        "1 if the last drill that was done found a damaged artifact or unexpected content.",
        (*of_database, "outcome"),
    )
    took = _gauge("drill_duration_seconds", "Duration of the last drill at a level.", (*of_database, "level"))
    restore = _gauge(
        "restore_estimated_seconds",
        "Estimated time to restore the database: that of its last drill, from the fetch to the restored database.",
        of_database,
    )
    for one in status.drills:
        labels = (one.place, one.set, one.database)
        for level, when in one.passed.items():
            passed.add_metric((*labels, level.value), when.timestamp())
        for level, seconds in one.took.items():
            took.add_metric((*labels, level.value), seconds)
        if one.failed is not None:
            failed.add_metric((*labels, one.failed.outcome.value), 1)
        if one.restore_seconds is not None:
            restore.add_metric(labels, one.restore_seconds)
    yield from (passed, failed, took, restore)
    overdue = _gauge("drill_overdue", "1 if a drill failed or is older than an objective allows.", ("set", "database"))
    for fault in status.drill_faults:
        overdue.add_metric(tuple(split_database_key(fault.subject)), 1)
    yield overdue


def _storage(status: Status) -> Iterator[Metric]:
    up = _gauge(
        "storage_up", "1 if a destination answered and accepted copies when it was last used.", ("destination",)
    )
    owed = _gauge("copies_owed", "Artifacts on the volume whose copy is missing at a destination.", ("destination",))
    awaited = _gauge("copies_awaited", "Copies for which requests wait.", ("destination",))
    for name, one in status.destinations.items():
        if one.up is not None:
            up.add_metric((name,), float(one.up))
        if status.surveyed and one.owed is not None:
            owed.add_metric((name,), one.owed)
        awaited.add_metric((name,), one.awaited)
    yield from (up, owed, awaited)
    yield _value("volume_free_bytes", "Free bytes of the volume.", status.volume_free)
    yield _value("volume_size_bytes", "Size of the volume.", status.volume_total)
    yield _value(
        "volume_full_timestamp_seconds",
        "Time at which the volume will be full at the present rate.",
        None if status.full_on is None else status.full_on.timestamp(),
    )
    yield _value(
        "retention_configured",
        "1 if retention has a rule at any place.",
        any(status.retention.values()),
    )
    blocked = _gauge(
        "retention_blocked", "1 if the last pass of retention was refused, by reason.", ("place", "reason")
    )
    applied = _gauge(
        "retention_timestamp_seconds", "Time at which retention was last applied, since the agent started.", ("place",)
    )
    damaged = _gauge(
        "artifacts_damaged", "Artifacts whose content is missing or differs from their record.", ("place",)
    )
    yield _value(
        "damaged_everywhere",
        "1 if an artifact is damaged at each place and its database has no newer FULL.",
        _damaged_everywhere(status),
    )
    unreadable = _gauge(
        "unreadable_artifacts",
        "Artifacts that exist and cannot be verified: a record, mark or file is unreadable, or there is no record.",
        ("place", "why"),
    )
    unrestorable = _gauge(
        "unrestorable_artifacts",
        "Artifacts that cannot be restored because something that they need is missing or damaged.",
        ("place",),
    )
    unrecognised = _gauge(
        "unrecognised_records",
        "Records that the agent neither wrote nor accepted. They are not restore points.",
        ("place",),
    )
    oldest = _gauge(
        "verify_oldest_timestamp_seconds",
        "Time at which the artifact that has waited longest was last verified.",
        ("place",),
    )
    for name, place in status.places.items():
        if place.blocked is not None:
            blocked.add_metric((name, place.blocked.value), 1)
        if place.pruned is not None:
            applied.add_metric((name,), place.pruned.timestamp())
        if place.damaged is not None:
            damaged.add_metric((name,), len(place.damaged))
        for why, keys in (place.unreadable or {}).items():
            unreadable.add_metric((name, why), len(keys))
        if place.unrestorable is not None:
            unrestorable.add_metric((name,), len(place.unrestorable))
        if place.unrecognised is not None:
            unrecognised.add_metric((name,), place.unrecognised)
        if place.oldest_verified is not None:
            oldest.add_metric((name,), place.oldest_verified.timestamp())
    yield from (blocked, applied, damaged, unreadable, unrestorable, unrecognised, oldest)


def _damaged_everywhere(status: Status) -> float | None:
    """Return the value of `damaged_everywhere`: damage is FAILING only if no good copy and no newer FULL exists."""
    if status.health is None:
        return None
    lost = (ProblemKind.DAMAGED, HealthState.FAILING)
    return float(any((one.kind, one.level) == lost for one in status.health.problems))
