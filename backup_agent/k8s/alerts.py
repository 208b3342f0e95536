"""The alert rules, and the PrometheusRule with them.

`docs/alerts.yaml` is made from the same table. Each alert has a section of its name in docs/runbooks/alerts.md.
Only three alerts are `critical`: no agent is scraped, a database is late, or damaged data has no good copy.
"""

from dataclasses import dataclass

from backup_agent.k8s.alone import Spec
from backup_agent.k8s.names import BACKUP, Object, backup_name, metadata

CRITICAL, WARNING = "critical", "warning"

RUNBOOK = "alerts.md"
"""The page of the runbooks, with one section for each alert."""

BUILD = "neo4j_backup_build_info"

ABSENT = """\
group by (cluster, namespace) (last_over_time({build}[3d]))
  unless on (cluster, namespace)
{build}
  or on ()
absent({build})
"""
"""A query: agents that were scraped within three days and are not any more. Without any agent it has one series."""

OF_CLUSTER = """\
(
  {expression}
)
  * on (job, instance) group_left (cluster)
{build}
"""
"""Adds the label `cluster` to every series, and leaves out the series of agents that `build` does not select.

The value of `neo4j_backup_build_info` is 1. The label `namespace` is one of the target.
"""


@dataclass(frozen=True)
class Alert:
    """One alert. The texts are templates of Prometheus."""

    name: str
    expression: str
    """Its series have the labels `job` and `instance` of the agent, so no aggregation may drop them."""
    summary: str
    description: str
    lasts: str = "0s"
    """How long the condition must last before the alert fires."""
    severity: str = WARNING


AGENT_ABSENT = Alert(
    "Neo4jBackupAgentAbsent",
    ABSENT,
    "Prometheus scrapes no backup agent{{ with $labels.cluster }} of {{ . }}{{ end }}.",
    "No backup is made while the agent does not run. Look at its pod, then at the target in Prometheus.",
    # An update takes a minute or two; after a drain the volume moves to another node.
    "15m",
    CRITICAL,
)

OF_AGENT = (
    Alert(
        "Neo4jBackupStale",
        # By each database's own RPO and grace: of its objective, else of its schedules. A database without any restore
        # point is unprotected.
        "time() - neo4j_backup_deadline_timestamp_seconds > 0\n"
        "    and on (job, instance, cluster, set, database)\n"
        "  neo4j_backup_age_seconds",
        "A backup of {{ $labels.database }} of {{ $labels.cluster }} (set {{ $labels.set }}) is overdue by "
        "{{ $value | humanizeDuration }}.",
        "backup-agent status shows the cause.",
        "5m",
        CRITICAL,
    ),
    Alert(
        "Neo4jBackupDamagedEverywhere",
        "neo4j_backup_damaged_everywhere == 1",
        "An artifact of {{ $labels.cluster }} is damaged at every place, and its database has no newer FULL.",
        "backup-agent status names the artifact. Take a FULL of its database at once.",
        severity=CRITICAL,
    ),
    Alert(
        "Neo4jBackupUnprotected",
        'neo4j_backup_protection{state="unprotected"} == 1',
        "{{ $labels.database }} of {{ $labels.cluster }} is not protected: no schedule matches it, or no backup of it "
        "has succeeded.",
        'backup-agent status shows which. Add a schedule, or exclude it by "!{{ $labels.database }}" in databases.',
        "5m",
    ),
    Alert(
        "Neo4jBackupFailed",
        'max without (reason) (neo4j_backup_last_failure_timestamp_seconds{reason!="cancelled"})\n'
        "    >=\n"
        "  neo4j_backup_last_attempt_timestamp_seconds",
        "The last backup of {{ $labels.database }} of {{ $labels.cluster }} failed.",
        "backup-agent status names the request; backup-agent show REQUEST shows the error and what to do.",
    ),
    Alert(
        "Neo4jBackupDatabasesRefused",
        "neo4j_backup_databases_refused > 0",
        "{{ $value }} databases of {{ $labels.cluster }} are not backed up because of their names.",
        "The log names them (database refused). Drop them, or create them again with other names.",
        "15m",
    ),
    Alert(
        "Neo4jBackupDamaged",
        "neo4j_backup_artifacts_damaged > 0",
        "{{ $value }} artifacts of {{ $labels.cluster }} at {{ $labels.place }} are damaged.",
        "backup-agent verify --heal replaces them from another place. If no place has a good copy, take a FULL.",
    ),
    Alert(
        "Neo4jBackupChainBroken",
        "neo4j_backup_unrestorable_artifacts > 0",
        "{{ $value }} artifacts of {{ $labels.cluster }} at {{ $labels.place }} cannot be restored: an artifact that "
        "they need is missing or damaged.",
        "backup-agent catalog diff names it; backup-agent verify --heal restores it from another place. Otherwise take "
        "a FULL.",
    ),
    Alert(
        "Neo4jBackupUnreadable",
        "neo4j_backup_unreadable_artifacts > 0",
        "{{ $value }} artifacts of {{ $labels.cluster }} at {{ $labels.place }} cannot be verified "
        "({{ $labels.why }}).",
        "backup-agent status names them; backup-agent catalog diff shows what is wrong with each.",
        "2h",
    ),
    Alert(
        "Neo4jBackupUnrecognised",
        "neo4j_backup_unrecognised_records > 0",
        "{{ $labels.place }} has {{ $value }} records that the agent of {{ $labels.cluster }} neither wrote nor "
        "accepted.",
        "They are not restore points. backup-agent catalog unrecognised lists them.",
        "1h",
    ),
    Alert(
        "Neo4jBackupUnsigned",
        "neo4j_backup_signing_fault == 1",
        "The agent of {{ $labels.cluster }} does not sign its records although the settings name a key.",
        "Backups go on. backup-agent status shows the cause.",
        "15m",
    ),
    Alert(
        "Neo4jBackupVerifyLate",
        # verify.every is 30 days by default.
        "time() - neo4j_backup_verify_oldest_timestamp_seconds > 45 * 86400",
        "An artifact of {{ $labels.cluster }} at {{ $labels.place }} has not been verified for "
        "{{ $value | humanizeDuration }}.",
        "Raise verify.bandwidth, or keep fewer artifacts.",
        "1h",
    ),
    Alert(
        "Neo4jBackupDrillFailed",
        "neo4j_backup_drill_failed > 0",
        "The last drill of {{ $labels.database }} of {{ $labels.cluster }} at {{ $labels.place }} ended as "
        "{{ $labels.outcome }}.",
        "backup-agent status shows when and why. If the content failed, check the live database too.",
    ),
    Alert(
        "Neo4jBackupDrillOverdue",
        "neo4j_backup_drill_overdue > 0",
        "{{ $labels.database }} of {{ $labels.cluster }} was not drilled as its objective says.",
        "backup-agent status says since when. Raise drill.budget, or drill more often.",
        "1h",
    ),
    Alert(
        "Neo4jBackupCopiesMissing",
        "neo4j_backup_copies_owed > 0",
        "{{ $value }} artifacts of {{ $labels.cluster }} have no copy at {{ $labels.destination }}.",
        "backup-agent status shows the cause. An artifact whose copy is missing is not deleted from the volume.",
        "6h",
    ),
    Alert(
        "Neo4jBackupRetentionBlocked",
        "neo4j_backup_retention_blocked == 1",
        "Retention of {{ $labels.cluster }} is blocked at {{ $labels.place }}: {{ $labels.reason }}.",
        "Nothing is deleted there until the cause is gone. backup-agent plan --force shows what would be deleted.",
        "1h",
    ),
    Alert(
        "Neo4jBackupVolumeFull",
        "neo4j_backup_volume_full_timestamp_seconds - time() < 86400\n"
        "    or\n"
        "  neo4j_backup_volume_free_bytes / neo4j_backup_volume_size_bytes < 0.05",
        "The volume of the agent of {{ $labels.cluster }} is full or will be full within a day.",
        "Keep fewer artifacts, or enlarge the volume.",
        "30m",
    ),
    Alert(
        "Neo4jBackupNotReady",
        "neo4j_backup_ready == 0",
        "The agent of {{ $labels.cluster }} takes no requests.",
        "backup-agent status shows why: the volume cannot be surveyed, or the agent is ending.",
        "15m",
    ),
    Alert(
        "Neo4jBackupSettingsInvalid",
        "neo4j_backup_config_valid == 0",
        "The settings file of the agent of {{ $labels.cluster }} is invalid.",
        "The agent continues with the last valid settings. backup-agent status names the errors in the file.",
        "10m",
    ),
    Alert(
        "Neo4jBackupBoltDown",
        "neo4j_backup_bolt_up == 0",
        "The agent of {{ $labels.cluster }} gets no answer over Bolt.",
        "The agent uses the last topology until that is older than neo4j.max_topology_age; then backups fail.",
        "1h",
    ),
    Alert(
        "Neo4jBackupDatabaseMissing",
        "neo4j_backup_database_missing == 1",
        "{{ $labels.database }} of {{ $labels.cluster }} has backups, but SHOW DATABASES no longer lists it.",
        "If it was dropped, run backup-agent forget. Otherwise the agent's role has probably lost its grants.",
        "1h",
    ),
    Alert(
        "Neo4jBackupQueueStuck",
        "neo4j_backup_queue_oldest_seconds > 6 * 3600 unless on (job, instance) neo4j_backup_paused == 1",
        "A request to the agent of {{ $labels.cluster }} has waited for {{ $value | humanizeDuration }}.",
        "backup-agent status shows what runs and what waits.",
        "5m",
    ),
    Alert(
        "Neo4jBackupPaused",
        "neo4j_backup_pause_overlong == 1",
        "The agent of {{ $labels.cluster }} has been paused for more than a day.",
        "No backup is made during a pause. To continue, run backup-agent resume.",
        "5m",
    ),
    Alert(
        "Neo4jBackupScheduleMissed",
        # Not increase(): runs missed before a start are counted in the first sample, which has no predecessor.
        "neo4j_backup_schedule_missed_total\n"
        "    >\n"
        "  (neo4j_backup_schedule_missed_total offset 1h or neo4j_backup_schedule_missed_total * 0)",
        "Runs of the schedule {{ $labels.schedule }} of {{ $labels.cluster }} were missed.",
        "The agent did not run at their time, or was paused. Send a request for what is needed before the next run.",
    ),
    Alert(
        "Neo4jBackupOftenFullForDiff",
        "sum without (reason) (\n"
        '    increase(neo4j_backup_full_promotions_total{reason=~"chain_broken|store_changed|diff_.*"}[1d])\n'
        "  ) > 3",
        "Differentials of {{ $labels.database }} of {{ $labels.cluster }} are not possible, so fulls are taken "
        "instead.",
        "Raise db.tx_log.rotation.retention_policy on the servers, or take differentials more often.",
    ),
    Alert(
        "Neo4jBackupClockOff",
        "abs(neo4j_backup_clock_offset_seconds) > 300",
        "The clocks of the servers and of the agent of {{ $labels.cluster }} differ by "
        "{{ $value | humanizeDuration }}.",
        "Nothing is deleted until the clocks agree. Correct the clock of the node.",
        "15m",
    ),
    Alert(
        "Neo4jBackupCheckFailed",
        "neo4j_backup_check_failed_runs >= 2",
        "The check {{ $labels.check }} of the agent of {{ $labels.cluster }} has failed {{ $value }} times in a row.",
        "backup-agent doctor says what was found and what to do. docs/doctor.md says how to accept it until a day.",
    ),
    Alert(
        "Neo4jBackupAuditForked",
        'neo4j_backup_audit_forks_total{because="forked"} > 0',
        "Two volumes have continued one audit log of {{ $labels.cluster }} at {{ $labels.place }}.",
        'The volume was restored from a snapshot, or a clone of it is in use. See docs/audit.md, "Forks".',
    ),
)
"""The alerts of an agent that is scraped, the most important first."""

ALERTS = (AGENT_ABSENT, *OF_AGENT)


def groups(runbooks: str, selected: str = "") -> list[Object]:
    """Return the groups of a rule file.

    `runbooks` is where the folder docs/runbooks is published. `selected` are the labels of the agents that the rules
    are for, as in `{cluster="demo"}`; empty: every agent.
    """
    return [{"name": "neo4j-backup", "rules": [_rule(one, runbooks, f"{BUILD}{selected}") for one in ALERTS]}]


def prometheus_rule(spec: Spec) -> Object:
    """Return the PrometheusRule with the alerts of this spec's agent alone."""
    found = metadata(spec, backup_name(spec), BACKUP)
    selected = f'{{cluster="{spec.cluster}", namespace="{spec.namespace}"}}'
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {**found, "labels": {**spec.monitoring.labels, **found["labels"]}},
        "spec": {"groups": groups(spec.monitoring.runbooks, selected)},
    }


def _rule(alert: Alert, runbooks: str, build: str) -> Object:
    template = ABSENT if alert is AGENT_ABSENT else OF_CLUSTER
    return {
        "alert": alert.name,
        "expr": template.format(build=build, expression=alert.expression),
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{runbooks}/{RUNBOOK}#{alert.name.lower()}",
        },
    }
