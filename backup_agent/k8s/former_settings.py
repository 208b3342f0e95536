"""Settings of Neo4j 4.x and early 5.x, and the settings that replaced them.

The table is what Neo4j itself says: each name was given to the migrators of settings (`SettingMigrator`) in the jars of
Neo4j Community 5.26.31 and 2026.09.0. A server runs them when it reads neo4j.conf: it replaces an earlier name with a
warning unless the new name is set too, and drops what was removed. A setting that no migrator knows is refused ("No
declared setting with name"), unless `server.config.strict_validation.enabled` is false. Of the settings of clusters,
backups and metrics in 4.x, Community's migrators know none, and their new names are those of the manual.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_TO_DB = (
    "checkpoint",
    "checkpoint.interval.time",
    "checkpoint.interval.tx",
    "checkpoint.interval.volume",
    "checkpoint.iops.limit",
    "filewatcher.enabled",
    "import.csv.buffer_size",
    "import.csv.legacy_quote_escaping",
    "index.fulltext.default_analyzer",
    "index.fulltext.eventually_consistent",
    "index.fulltext.eventually_consistent_index_update_queue_max_length",
    "index_sampling.background_enabled",
    "index_sampling.sample_size_limit",
    "index_sampling.update_percentage",
    "lock.acquisition.timeout",
    "logs.query.early_raw_logging_enabled",
    "logs.query.enabled",
    "logs.query.max_parameter_length",
    "logs.query.obfuscate_literals",
    "logs.query.parameter_logging_enabled",
    "logs.query.plan_description_enabled",
    "logs.query.threshold",
    "logs.query.transaction.enabled",
    "logs.query.transaction.threshold",
    "memory.pagecache.warmup.enable",
    "memory.pagecache.warmup.preload",
    "memory.pagecache.warmup.preload.allowlist",
    "memory.pagecache.warmup.profile.interval",
    "recovery.fail_on_missing_files",
    "relationship_grouping_threshold",
    "shutdown_transaction_end_timeout",
    "store.files.preallocate",
    "track_query_cpu_time",
    "transaction.bookmark_ready_timeout",
    "transaction.concurrent.maximum",
    "transaction.monitor.check.interval",
    "transaction.sampling.percentage",
    "transaction.timeout",
    "transaction.tracing.level",
    "tx_log.buffer.size",
    "tx_log.preallocate",
    "tx_log.rotation.retention_policy",
    "tx_log.rotation.size",
)
"""dbms.NAME became db.NAME."""

_TO_SERVER = (
    "databases.default_to_read_only",
    "databases.read_only",
    "databases.writable",
    "default_advertised_address",
    "default_listen_address",
    "directories.data",
    "directories.dumps.root",
    "directories.import",
    "directories.lib",
    "directories.licenses",
    "directories.logs",
    "directories.neo4j_home",
    "directories.plugins",
    "directories.run",
    "directories.script.root",
    "directories.transaction.logs.root",
    "http_enabled_modules",
    "jvm.additional",
    "logs.gc.enabled",
    "logs.gc.options",
    "logs.gc.rotation.keep_number",
    "logs.gc.rotation.size",
    "memory.heap.initial_size",
    "memory.heap.max_size",
    "memory.pagecache.directio",
    "memory.pagecache.flush.buffer.enabled",
    "memory.pagecache.flush.buffer.size_in_pages",
    "memory.pagecache.scan.prefetchers",
    "memory.pagecache.size",
    "threads.worker_count",
    "unmanaged_extension_classes",
    "windows_service_name",
)
"""dbms.NAME became server.NAME."""

_TO_DBMS = (
    "cypher.forbid_exhaustive_shortestpath",
    "cypher.forbid_shortestpath_common_nodes",
    "cypher.hints_error",
    "cypher.lenient_create_relationship",
    "cypher.min_replan_interval",
    "cypher.planner",
    "cypher.render_plan_description",
    "cypher.statistics_divergence_threshold",
)
"""NAME became dbms.NAME."""

_RENAMED = {
    "clients.allow_telemetry": "client.allow_telemetry",
    "cypher.query_max_allocations": "db.memory.transaction.max",
    "db.logs.query.annotation_data_as_json_enabled": "db.logs.query.annotation_data_format",
    "dbms.config.strict_validation": "server.config.strict_validation.enabled",
    "dbms.default_database": "initial.dbms.default_database",
    "dbms.memory.pagecache.warmup.preload.whitelist": "db.memory.pagecache.warmup.preload.allowlist",
    "dbms.memory.transaction.datababase_max_size": "db.memory.transaction.total.max",
    "dbms.memory.transaction.database_max_size": "db.memory.transaction.total.max",
    "dbms.memory.transaction.global_max_size": "dbms.memory.transaction.total.max",
    "dbms.memory.transaction.max_size": "db.memory.transaction.max",
    "dbms.query_cache_size": "server.memory.query_cache.per_db_cache_num_entries",
    "dbms.read_only": "server.databases.default_to_read_only",
    "dbms.security.http_auth_whitelist": "dbms.security.http_auth_allowlist",
    "dbms.security.procedures.whitelist": "dbms.security.procedures.allowlist",
    "server.db.query_cache_size": "server.memory.query_cache.per_db_cache_num_entries",
}

_REMOVED = (
    "cypher.default_language_version",
    "dbms.allow_single_automatic_upgrade",
    "dbms.allow_upgrade",
    "dbms.backup.incremental.strategy",
    "dbms.capabilities.blocked",
    "dbms.clustering.enable",
    "dbms.directories.tx_log",
    "dbms.index.default_schema_provider",
    "dbms.index_searcher_cache_size",
    "dbms.init_file",
    "dbms.log_inconsistent_data_deletion",
    "dbms.memory.pagecache.swapper",
    "dbms.record_format",
    "dbms.rest.transaction.idle_timeout",
    "dbms.routing.driver.api",
    "dbms.routing.driver.event_loop_count",
    "dbms.routing.driver.idle_check_interval",
    "dbms.routing.driver.logging.leaked_sessions",
    "dbms.routing.driver.timeout",
    "dbms.security.ldap.authentication.use_samaccountname",
    "dbms.security.procedures.default_allowed",
    "dbms.security.procedures.roles",
    "dbms.security.property_level.blacklist",
    "dbms.security.property_level.enabled",
    "dbms.track_query_allocation",
    "dbms.upgrade_max_processors",
)
"""Without replacement, or with an internal one."""

_REMOVED_2026 = {
    "db.tx_state.memory_allocation": None,
    "dbms.memory.off_heap.block_cache_size": "server.memory.off_heap.block_cache_size",
    "dbms.memory.off_heap.max_cacheable_block_size": "server.memory.off_heap.max_cacheable_block_size",
    "dbms.memory.off_heap.max_size": "server.memory.off_heap.transaction_max_size",
    "dbms.tx_state.max_off_heap_memory": "server.memory.off_heap.transaction_max_size",
    "dbms.tx_state.memory_allocation": "db.tx_state.memory_allocation",
    "dbms.tx_state.off_heap.block_cache_size": "server.memory.off_heap.block_cache_size",
    "dbms.tx_state.off_heap.max_cacheable_block_size": "server.memory.off_heap.max_cacheable_block_size",
    "server.memory.off_heap.block_cache_size": None,
    "server.memory.off_heap.max_cacheable_block_size": None,
    "server.memory.off_heap.transaction_max_size": None,
}
"""Removed after 5.26 -> what replaced it there, or None if 5.26 knows it."""

_PREFIXES = {
    "dbms.connector.bolt.": "server.bolt.",
    "dbms.connector.http.": "server.http.",
    "dbms.connector.https.": "server.https.",
    "dbms.logs.": None,
    "fabric.": None,
}
"""Beginnings of settings that a migrator knows -> what replaced the beginning; None if the whole setting is gone."""

_REFUSED = {
    "causal_clustering.": None,
    "dbms.backup.": "server.backup.",
    "dbms.mode": None,
    "metrics.": "server.metrics.",
}
"""The same for settings that no migrator of Community knows."""

REPLACED = {
    **{f"dbms.{name}": f"db.{name}" for name in _TO_DB},
    **{f"dbms.{name}": f"server.{name}" for name in _TO_SERVER},
    **{name: f"dbms.{name}" for name in _TO_DBMS},
    **_RENAMED,
    **dict.fromkeys(_REMOVED),
}
"""Setting -> the one that replaced it, or None."""

LAST_WITH_OFF_HEAP = (5, 26)
"""The last version that knows the settings of `_REMOVED_2026`."""


@dataclass(frozen=True)
class FormerSetting:
    """A setting that servers no longer know by this name."""

    new: str | None
    """The setting that replaced it, or None."""
    refused: bool
    """Whether a server does not start with it; otherwise it is replaced or dropped with a warning."""


def former(name: str, version: tuple[int, ...]) -> FormerSetting | None:
    """Return what became of a setting of earlier versions; None if it is no such setting.

    >>> former("dbms.memory.heap.max_size", (2026, 9))
    FormerSetting(new='server.memory.heap.max_size', refused=False)
    >>> former("server.memory.heap.max_size", (2026, 9)) is None
    True
    """
    if name in _REMOVED_2026:
        new = _REMOVED_2026[name] if version <= LAST_WITH_OFF_HEAP else None
        return None if new is None and version <= LAST_WITH_OFF_HEAP else FormerSetting(new, refused=False)
    if name in REPLACED:
        return FormerSetting(REPLACED[name], refused=False)
    for prefixes, refused in ((_PREFIXES, False), (_REFUSED, True)):
        for prefix, new in prefixes.items():
            if name.startswith(prefix):
                return FormerSetting(None if new is None else new + name.removeprefix(prefix), refused)
    return None


def names() -> Iterator[str]:
    """Yield every setting of the table, without those that are known by their beginning."""
    yield from REPLACED
    yield from _REMOVED_2026
