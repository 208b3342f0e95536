import json
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.settings import yaml_reader
from backup_agent.settings.faults import SettingsError
from backup_agent.settings.load import Loaded, in_force, load, parse
from tests.builders import settings_tree
from tests.examples import examples

LEAST = "cluster: demo\nneo4j: {uri: 'neo4j://demo-client:7687'}\n"


def loaded(text: str, **environ: str) -> Loaded:
    return parse(text.encode(), environ, "config.yaml")


def faults(text: str, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        loaded(text, **environ)
    return [str(fault) for fault in refused.value.faults]


# Faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "cluster: required, such as demo", id="empty-file"),
        pytest.param("cluster: demo", "neo4j.uri: required, such as neo4j://demo-client:7687", id="no-uri"),
        pytest.param("[]", "expected keys and values, such as cluster: demo", id="a-list"),
        pytest.param("cluster: 7", "cluster: expected text, in quotes (got 7)", id="a-number-for-text"),
        pytest.param("cluster: on", "cluster: expected text, in quotes (got true)", id="YAMLs-own-idea-of-on"),
        pytest.param("cluster: 2026-11-23", None, id="a-date-for-text"),
        pytest.param("clutser: demo", "clutser: unknown key: did you mean cluster?", id="misspelt"),
        pytest.param("frob: 1", "frob: unknown key: known here are chain, cluster, databases, doctor, drill, http, limits, log, neo4j, notify, objectives, requests, restore, retention, schedules, sets, signing, storage, verify", id="unknown"),
        pytest.param("limits:", "limits: expected keys and values; leave it out, or write {} (got null)", id="a-section-of-comments"),
        pytest.param("databases: '*'", 'databases: expected a list, such as [a, b] (got "*")', id="text-for-a-list"),
        pytest.param("databases: []", 'databases: expected at least one name or glob without "!", such as "*" (got a list)', id="nothing-to-back-up"),
        pytest.param("databases: ['!a']", 'databases: expected at least one name or glob without "!", such as "*" (got a list)', id="only-exclusions"),
        pytest.param("databases: ['a b']", 'databases[0]: expected a database name, a glob such as "orders*", or "!" and one of these (got "a b")', id="not-a-glob"),
        pytest.param("sets: [.staging]", "sets[0]: expected the name of a set alone, such as test: letters, digits, '.', '_' and '-' (got \".staging\")", id="the-agents-own-name"),
        pytest.param("requests: {folder: here}", "requests.folder: expected an absolute path without '..' (got \"here\")", id="relative-path"),
        pytest.param("requests: {folder: /a/../b}", "requests.folder: expected an absolute path without '..' (got \"/a/../b\")", id="dots"),
        pytest.param("storage: {root: /b}\nrequests: {folder: /b}", "requests: expected a folder outside storage.root, /b: in /b, it would look like a set (got a mapping)", id="root-is-requests"),
        pytest.param("storage: {root: /backup-requests}", "requests: expected a folder outside storage.root, /backup-requests: in /backup-requests, it would look like a set (got a mapping)", id="root-is-the-default-requests"),
        pytest.param("requests: {folder: /backups/requests}", "requests: expected a folder outside storage.root, /backups: in /backups/requests, it would look like a set (got a mapping)", id="requests-in-the-default-root"),
        pytest.param("storage: {destinations: {local: {bucket: backups}}}", "storage.destinations: expected another name than local, which is the volume's (got a mapping)", id="a-destination-called-local"),
        pytest.param("storage: {destinations: {Off Site: {bucket: backups}}}", "storage.destinations.Off Site: expected a name of at most 31 lower-case letters, digits, '_' and '-', beginning with a letter or digit (got \"Off Site\")", id="destination-name"),
        pytest.param("storage: {destinations: {a: {bucket: backups}, b: {bucket: backups}}}", "storage.destinations: expected another place for b: a is the same place (got a mapping)", id="one-place-twice"),
        pytest.param("storage: {destinations: {a: {}}}", "storage.destinations.a.bucket: required, such as backups", id="no-bucket"),
        pytest.param("storage: {destinations: {a: {bucket: b}}}", "storage.destinations.a.bucket: expected the name of a bucket, or an access point's ARN (got \"b\")", id="bucket"),
        pytest.param("storage: {destinations: {a: {bucket: bbb, prefix: /x}}}", "storage.destinations.a.prefix: expected names with '/' between them but not at either end, such as neo4j (got \"/x\")", id="prefix"),
        pytest.param("storage: {destinations: {a: {bucket: bbb, prefix: x/../y}}}", "storage.destinations.a.prefix: expected names with '/' between them but not at either end, such as neo4j (got \"x/../y\")", id="prefix-with-dots"),
        pytest.param("storage: {destinations: {a: {bucket: bbb, type: gcs}}}", 'storage.destinations.a.type: expected s3 (got "gcs")', id="another-store"),
        pytest.param("storage: {destinations: {a: {bucket: bbb, endpoint_url: s3.example.com}}}", 'storage.destinations.a.endpoint_url: expected http:// or https:// with host and port, and no credentials (got "s3.example.com")', id="endpoint"),
        pytest.param("storage: {destinations: {a: {bucket: bbb, bandwidth: 50}}}", "storage.destinations.a.bandwidth: expected a size such as 512MiB (B, KiB, MiB, GiB or TiB) (got 50)", id="a-size-without-unit"),
        pytest.param("storage: {destinations: {a: {bucket: bbb, put_options: {SSECustomerKey: x}}}}", "storage.destinations.a.put_options: expected no SSECustomer… option: the settings hold no keys; ServerSideEncryption and SSEKMSKeyId work (got a mapping)", id="a-key-in-put-options"),
        pytest.param("retention: {daily: 0}", "retention.daily: expected at least 1 (got 0)", id="keep-none"),
        pytest.param("retention: {timezone: Mars}", 'retention.timezone: expected an IANA time zone such as Europe/Berlin or UTC (got "Mars")', id="zone"),
        pytest.param("retention: {max_delete_share: 2}", "retention.max_delete_share: expected at most 1 (got 2)", id="share"),
        pytest.param("retention: {max_delete_share: .nan}", "retention.max_delete_share: expected a number (got nan)", id="not-a-number"),
        pytest.param("chain: {max_links: 1.5}", "chain.max_links: expected a whole number (got 1.5)", id="half-a-link"),
        pytest.param("chain: {max_age: 7}", "chain.max_age: expected a duration such as 90s, 15m, 6h or 30d (got 7)", id="a-duration-without-unit"),
        pytest.param("limits: {run_timeout: 0s}", 'limits.run_timeout: expected a duration of at least 1s (got "0s")', id="not-a-time"),
        pytest.param("limits: {parallel: '2'}", 'limits.parallel: expected a whole number (got "2")', id="text-for-a-number"),
        pytest.param("signing: {trusted: [abc]}", 'signing.trusted[0]: expected the fingerprint of a public key: sha256: and 64 hex digits, from `signing show` (got "abc")', id="fingerprint"),
        pytest.param("signing: {revoked: {x: 2026-11-23T02:00:00Z}}", 'signing.revoked.x: expected the fingerprint of a public key: sha256: and 64 hex digits, from `signing show` (got "x")', id="revoked-fingerprint"),
        pytest.param("signing: {revoked: {sha256:0000000000000000000000000000000000000000000000000000000000000000: yesterday}}", 'signing.revoked.sha256:0000000000000000000000000000000000000000000000000000000000000000: expected a time with its offset, such as 2026-11-23T02:00:00Z (got "yesterday")', id="revoked-time"),
        pytest.param("http: {listen: 8080}", "http.listen: expected text, in quotes (got 8080)", id="a-bare-port"),
        pytest.param("http: {listen: ':8080'}", 'http.listen: expected host:port to listen on, such as 0.0.0.0:8080 (got ":8080")', id="no-host"),
        pytest.param("http: {probes: '0.0.0.0:8080'}", 'http.probes: expected a port of its own, not that of http.listen (got "0.0.0.0:8080")', id="one-port-for-both"),
        pytest.param("http: {page: '127.0.0.1:8081'}", 'http.page: expected a port of its own, not that of http.probes (got "127.0.0.1:8081")', id="the-page-on-the-probes-port"),
        pytest.param("http: {listen: '127.0.0.1:8081'}", 'http.probes: expected a port of its own, not that of http.listen (got "0.0.0.0:8081")', id="the-probes-default-port"),
        pytest.param("log: {level: loud}", 'log.level: expected debug, info, warning or error (got "loud")', id="level"),
        pytest.param("schedules:", "schedules: expected keys and values; leave it out, or write {} (got null)", id="schedules-null"),
        pytest.param("schedules: {a b: {cron: '@daily'}}", "schedules.a b: expected a name of at most 63 letters, digits, '.', '_' and '-', beginning with a letter or digit (got \"a b\")", id="schedule-name"),
        pytest.param("schedules: {n: {}}", "schedules.n.cron: required, such as 0 2 * * *", id="cron-missing"),
        pytest.param("schedules: {n: {cron: 0 2 * *}}", 'schedules.n.cron: expected five fields: minute, hour, day of month, month, weekday (got "0 2 * *")', id="cron"),
        pytest.param("schedules: {n: {cron: 0 0 31 2 *}}", 'schedules.n.cron: expected an expression that matches at least one date (got "0 0 31 2 *")', id="never-due"),
        pytest.param("schedules: {n: {cron: '@reboot'}}", 'schedules.n.cron: expected five fields, or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually (got "@reboot")', id="@reboot"),
        pytest.param("schedules: {n: {cron: '@daily', type: full}}", 'schedules.n.type: expected FULL, DIFF, AUTO or DRILL (got "full")', id="type"),
        pytest.param("schedules: {n: {cron: '@daily', misfire: never}}", 'schedules.n.misfire: expected run_once or skip (got "never")', id="misfire"),
        pytest.param("objectives: [{databases: '*', copies: 2}]", "objectives: expected no more copies than places, which are 1: the volume and each destination (got a list)", id="more-copies-than-places"),
    pytest.param("objectives: [{databases: '!scratch'}]", 'objectives[0].databases: expected at least one name or glob without "!", such as "*" (got "!scratch")', id="objective-of-exclusions"),
    pytest.param("restore: {rehearsals: ['a b']}", 'restore.rehearsals[0]: expected a glob of letters, digits, ".", "-", "*", "?" and ranges, such as "*-restored-[0-9]" (got "a b")', id="rehearsals"),
    pytest.param("schedules: {n: {cron: '@daily', path: /backups/x}}", "schedules.n.path: expected the name of a set alone, such as test: letters, digits, '.', '_' and '-' (got \"/backups/x\")", id="set"),
        pytest.param("schedules: {n: {cron: '*/30 * * * *', jitter: 30m}}", 'schedules.n.jitter: expected less than the 30m between two runs (got "30m")', id="jitter"),
    ],
)  # fmt: skip
def test_a_fault_names_its_path_what_was_expected_and_what_was_found(text: str, expected: str | None) -> None:
    base = "" if text.startswith(("cluster", "clutser", "[")) or not text else LEAST
    if expected is None:
        assert loaded(text + "\nneo4j: {uri: 'bolt://x'}").settings.cluster == "2026-11-23"
    else:
        assert expected in faults(base + text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("uri: http://x", None, id="scheme"),
        pytest.param("uri: neo4j://x/path", None, id="path"),
        pytest.param("uri: 'neo4j://:7687'", None, id="no-host"),
        pytest.param("uri: 'neo4j://x:99999'", None, id="port"),
        pytest.param("uri: bolt://x, username: a, username_file: /n", 'neo4j.username_file: expected username or username_file, not both (got "/n")', id="two-names"),
        pytest.param("uri: bolt://x, ca_file: /ca", 'neo4j.ca_file: expected no ca_file unless neo4j.uri has neo4j+s:// or bolt+s://: no other scheme checks a CA (got "/ca")', id="ca-without-tls"),
        pytest.param("uri: bolt+ssc://x, ca_file: /ca", 'neo4j.ca_file: expected no ca_file unless neo4j.uri has neo4j+s:// or bolt+s://: no other scheme checks a CA (got "/ca")', id="ca-that-is-not-used"),
        pytest.param("uri: bolt://x, servers: ['x:0']", 'neo4j.servers[0]: expected host:port, with a port from 1 to 65535 (got "x:0")', id="server"),
        pytest.param("uri: bolt://x, backup_port: 0", "neo4j.backup_port: expected at least 1 (got 0)", id="port-0"),
        pytest.param("uri: bolt://x, launch: fast", 'neo4j.launch: expected auto, script or direct (got "fast")', id="launch"),
        pytest.param("uri: bolt://x, admin: /a, launch: direct", 'neo4j.launch: expected auto or script if neo4j.admin is set, because that program is run as it is; or set $NEO4J_HOME instead (got "direct")', id="direct-with-a-program"),
        pytest.param("uri: bolt://x, heap: 512m", 'neo4j.heap: expected a size such as 512MiB (B, KiB, MiB, GiB or TiB) (got "512m")', id="neo4js-own-sizes"),
        pytest.param("uri: bolt://x, include_metadata: some", 'neo4j.include_metadata: expected all, none, roles, users, or users=NAME,NAME (got "some")', id="metadata"),
        pytest.param("uri: bolt://x, backup_tls: {ca_file: /c, cert_file: /c}", "neo4j.backup_tls.key_file: required", id="half-a-pair"),
        pytest.param("uri: bolt://x, backup_tls: {cert_file: /c, key_file: /k}", "neo4j.backup_tls.ca_file: required", id="tls-without-ca"),
        pytest.param("uri: bolt://x, username: ''", None, id="no-name"),
    ],
)  # fmt: skip
def test_a_fault_in_the_neo4j_section_names_its_path_what_was_expected_and_what_was_found(
    text: str, expected: str | None
) -> None:
    found = faults(f"cluster: demo\nneo4j: {{{text}}}")

    assert len(found) == 1
    assert found[0] == expected if expected else found[0].startswith("neo4j.u")


@pytest.mark.parametrize("value", ["backup-host:6362", "{pod}:6362", "{host}:port", "[]", "{}", "{a: 1}", "{a: 'x:y'}"])
def test_backup_addresses_are_a_map_or_a_template(value: str) -> None:
    (fault,) = faults(f"cluster: demo\nneo4j: {{uri: 'bolt://x', backup_addresses: {value}}}".replace("{pod}", "'{pod}'") if value.startswith(("[", "{a", "{}")) else f"cluster: demo\nneo4j: {{uri: 'bolt://x', backup_addresses: '{value}'}}")  # fmt: skip

    assert fault.startswith(
        "neo4j.backup_addresses: expected a map from server id or Bolt host to host:port, or a template"
    )


def test_all_faults_are_reported_at_once() -> None:
    found = faults(
        "neo4j: {uri: ftp://x, launch: fast}\nlimits: {parallel: 0}\nschedules: {a: {cron: x, timezone: y, z: 1}}",
        BACKUP_AGENT_HTTP__LISTEN="nowhere",
        BACKUP_AGENT_LOG__LEVEL="[",
    )

    assert [fault.split(":")[0] for fault in found] == [
        "environment BACKUP_AGENT_LOG__LEVEL",
        "cluster",
        "neo4j.uri",
        "neo4j.launch",
        "schedules.a.cron",
        "schedules.a.timezone",
        "schedules.a.z",
        "limits.parallel",
        "http.listen (environment BACKUP_AGENT_HTTP__LISTEN)",
    ]


def test_the_error_text_has_a_line_for_each_fault_and_names_the_file() -> None:
    with pytest.raises(SettingsError) as refused:
        loaded("frob: 1")

    first, *lines = str(refused.value).splitlines()
    assert first == "3 faults in the settings (config.yaml):"
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [1\nb: 2", "line 2, column 2:", id="not-closed"),
        pytest.param("a:\n\tb: 1", "line 2, column 1:", id="a-tab"),
        pytest.param("cluster: a\ncluster: b", "line 2, column 1: a key that this section already has", id="a-key-twice"),
        pytest.param("limits:\n  parallel: 1\n  parallel: 2", "line 3, column 3: a key that this section already has", id="a-key-twice-below"),
        pytest.param("1: a", "line 1, column 1: a key that is not text", id="a-number-as-key"),
        pytest.param("? [a]\n: b", "line 1, column 3: a key that is not text", id="a-list-as-key"),
        pytest.param("a: b\n---\nc: d", "line 2, column 1:", id="two-documents"),
        pytest.param("a: !secret hunter2", "line 1, column 4:", id="a-tag"),
        pytest.param("a: *hunter2", "line 1, column 4:", id="an-alias"),
        pytest.param("a: !!binary aGk=", "expected only text, numbers, lists and mappings", id="binary"),
        pytest.param("a: &a [*a]", "line 1, column 8: an alias within the value that it names", id="a-list-in-itself"),
        pytest.param("a: &a {<<: *a}", "line 1, column 12: an alias within the value that it names", id="a-mapping-merged-into-itself"),
        pytest.param("a: \0", "position 3: not text in UTF-8", id="a-null-byte"),
        pytest.param("a: 1" + ":0" * 10_000, "line 1, column 4: a number of more than 64 characters: put text in quotes", id="a-number-in-base-60"),
        pytest.param("a: 0x" + "f" * 100_000, "line 1, column 4: a number of more than 64 characters: put text in quotes", id="a-long-number"),
    ],
)  # fmt: skip
def test_invalid_yaml_is_reported_with_line_and_column(text: str, expected: str) -> None:
    (fault,) = faults(text)

    assert fault.startswith(expected)
    assert "hunter2" not in fault


TOO_MUCH = "more than 262144 bytes, if each value counts 12 more bytes and aliases count again"
TOO_DEEP = "nested more than 64 levels deep"


def laughs(first: str, more: str, levels: int = 9) -> str:
    """Return YAML in which each level repeats the level before it ten times (the "billion laughs" attack)."""
    lines = [f"l{level}: &l{level} " + more.format(", ".join(10 * [f"*l{level - 1}"])) for level in range(1, levels)]
    return "\n".join([LEAST, f"l0: &l0 {first}", *lines])


@pytest.fixture(name="parser", params=["CSafeLoader", "SafeLoader"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read YAML with libyaml, and as PyYAML does without libyaml."""
    monkeypatch.setattr(yaml_reader, "PARSER", getattr(yaml, request.param))


@pytest.mark.patience
@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[" * 3000, TOO_DEEP, id="brackets-that-stay-open"),
        pytest.param("[" * 3000 + "]" * 3000, TOO_DEEP, id="brackets-that-are-closed"),
        pytest.param("[" * 100_000, TOO_DEEP, id="a-hundred-thousand-brackets"),
        pytest.param("a: " + "{b: " * 3000, TOO_DEEP, id="mappings"),
        pytest.param("- " * 3000, TOO_DEEP, id="dashes"),
        pytest.param("? " * 3000, TOO_DEEP, id="keys-of-keys"),
        pytest.param("l0: &l0 x\n" + "".join(f"l{n}: &l{n} [*l{n - 1}]\n" for n in range(1, 100)), TOO_DEEP, id="aliases-of-aliases"),
        pytest.param(laughs("[ha, ha, ha]", "[{}]"), TOO_MUCH, id="laughs-in-a-list"),
        pytest.param(laughs('"' + 100 * "ha" + '"', "[{}]"), TOO_MUCH, id="laughs-of-text"),
        pytest.param(laughs("{a: 1, b: 2, c: 3}", "{{<<: [{}]}}"), TOO_MUCH, id="laughs-of-merged-mappings"),
        pytest.param("a: &a '" + 250_000 * "x" + "'\nb: [*a, *a]", TOO_MUCH, id="a-long-text-twice"),
        pytest.param("a: [" + "[]," * 80_000 + "]", TOO_MUCH, id="many-empty-lists"),
        pytest.param("a: '" + 262_144 * "x" + "'", "expected at most 262144 bytes (got 262149)", id="a-long-text"),
    ],
)  # fmt: skip
def test_yaml_that_is_too_deep_or_too_large_is_refused_at_once(text: str, expected: str) -> None:
    begun = time.process_time()
    (fault,) = faults(text)

    assert fault.endswith(expected)
    assert time.process_time() - begun < 2


def test_a_variable_has_the_same_bounds_as_the_file() -> None:
    found = faults(LEAST, BACKUP_AGENT_SETS="[" * 3000, BACKUP_AGENT_DATABASES=laughs("x", "{{<<: [{}]}}"))

    assert [fault.partition(":")[0] for fault in found] == [
        "environment BACKUP_AGENT_DATABASES",
        "environment BACKUP_AGENT_SETS",
    ]
    assert TOO_DEEP in found[1]


def test_a_variable_for_a_key_deeper_than_any_setting_is_refused() -> None:
    (fault,) = faults(LEAST, **{"BACKUP_AGENT_LIMITS" + "__A" * 3000: "1"})

    assert fault.endswith("expected at most 16 keys with '__' between them (got 3001)")
    assert len(fault) < 300


def test_of_many_faults_the_first_hundred_are_listed() -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(LEAST + "databases: [" + "[]," * 1000 + "]")

    first, *lines = str(refused.value).splitlines()
    assert first == "1000 faults in the settings (config.yaml):"
    assert (len(lines), lines[-1]) == (101, "  and 900 more")


@pytest.mark.patience
def test_a_file_of_a_thousand_schedules_is_read_in_a_moment() -> None:
    """The file is read in the supervisor's loop, which answers requests and probes."""
    lines = (f"  s{number}: {{cron: '15 3 * * *', type: FULL, databases: ['orders*']}}\n" for number in range(1000))
    text = LEAST + "schedules:\n" + "".join(lines)
    begun = time.process_time()

    assert len(loaded(text).settings.schedules) == 1000
    assert time.process_time() - begun < 1


def test_anchors_and_merges_are_yaml_as_everywhere() -> None:
    text = LEAST + "schedules:\n  a: &a {cron: '@daily', type: FULL}\n  b: {<<: *a, type: DIFF}\n  c: {<<: *a}\n"
    schedules = loaded(text).settings.schedules

    assert [str(one.type) for one in schedules.values()] == ["FULL", "DIFF", "FULL"]


SECRETS = [
    "neo4j: {password: hunter2}",
    "neo4j: {password_file: hunter2}",
    "neo4j: {password_file: [hunter2]}",
    "neo4j: {uri: 'neo4j://neo4j:hunter2@x:7687'}",
    "neo4j: {username: {password: hunter2}}",
    "storage: {destinations: {a: {bucket: bbb, access_key_id: hunter2}}}",
    "storage: {destinations: {a: {bucket: bbb, endpoint_url: 'https://a:hunter2@x'}}}",
    "storage: {destinations: {a: {bucket: bbb, put_options: {SSECustomerKey: hunter2}}}}",
    "storage: {destinations: {a: {bucket: bbb, put_options: {Key: hunter2}}}}",
    "storage: {destinations: {a: {bucket: bbb, put_options: {'hunter2!': x}}}}",
    "a: !<hun\"ter2'hunter2> x",
    "notify: 'https://x/hunter2'",
    "notify: {a: 'https://x/hunter2'}",
    "notify: {a: {kind: ping, url: 'https://x/hunter2'}}",
    "notify: {a: {kind: ping, url_file: 'https://x/hunter2'}}",
    "notify: {a: {kind: 'https://x/hunter2', url_file: /u}}",
    "secret: hunter2",
    "token: hunter2\n  : bad",
]


def test_a_long_value_is_shown_by_its_beginning() -> None:
    (fault,) = faults(LEAST + f"log: {{level: {'x' * 500}}}")

    assert len(fault) < 150


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_in_the_wrong_place_is_not_repeated(text: str) -> None:
    assert not any("hunter2" in fault for fault in faults(text))


def test_a_secret_in_the_environment_is_not_repeated_either() -> None:
    found = faults(LEAST, BACKUP_AGENT_NEO4J__PASSWORD="hunter2", BACKUP_AGENT_NEO4J__PASSWORD_FILE="hunter2")

    assert len(found) == 2
    assert not any("hunter2" in fault for fault in found)


@settings(deadline=None, max_examples=examples(200))
@given(st.text(alphabet=":{}[]&*!|>'\"%@`#,-?\n\t abz019~<.é\ud800\0", max_size=60) | st.text(max_size=40))
def test_any_text_is_accepted_as_settings_or_refused(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(text.encode(errors="surrogatepass"), {}, "config.yaml")

    assert refused.value.faults


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=examples(200))
@given(
    st.sampled_from(["cluster", "neo4j", "databases", "requests", "storage", "retention", "schedules", "http"]),
    json_values,
)
def test_any_value_of_a_key_is_accepted_or_refused(key: str, value: object) -> None:
    tree = settings_tree(**{key: value})
    try:
        parse(json.dumps(tree).encode(), {}, "config.yaml")
    except SettingsError as refused:
        found = refused.faults
    else:
        return

    assert all(str(fault) for fault in found)


# Environment


def test_a_variable_sets_a_key_and_wins_over_the_file() -> None:
    found = loaded(LEAST, BACKUP_AGENT_NEO4J__URI="bolt://other:7687", BACKUP_AGENT_LIMITS__PARALLEL="3").settings

    assert (found.neo4j.uri, found.limits.parallel) == ("bolt://other:7687", 3)


def test_top_level_keys_are_variables_without_underscores() -> None:
    found = loaded("", BACKUP_AGENT_CLUSTER="demo", BACKUP_AGENT_NEO4J="{uri: 'bolt://x'}", BACKUP_AGENT_REQUESTS="{folder: /drop}", BACKUP_AGENT_SCHEDULES="{}").settings  # fmt: skip

    assert (found.cluster, found.neo4j.uri, str(found.requests.folder), found.schedules) == (
        "demo",
        "bolt://x",
        "/drop",
        {},
    )


def test_names_that_kubernetes_sets_are_ignored() -> None:
    loaded(
        LEAST,
        BACKUP_AGENT_SERVICE_HOST="10.0.0.1",
        BACKUP_AGENT_PORT="tcp://10.0.0.1:8080",
        BACKUP_AGENT_PORT_8080_TCP_ADDR="10.0.0.1",
        BACKUP_AGENT_CONFIG="/elsewhere",
        OTHER__KEY="1",
    )


def test_an_unknown_key_with_two_underscores_is_a_fault_that_names_the_variable() -> None:
    assert faults(LEAST, BACKUP_AGENT_NEO4J__URL="bolt://x") == [
        "neo4j.url (environment BACKUP_AGENT_NEO4J__URL): unknown key: did you mean uri?"
    ]


def test_variables_create_and_change_entries_of_mappings() -> None:
    text = LEAST + "storage: {destinations: {off-site: {bucket: backups}}}\nschedules: {Nightly: {cron: '@daily'}}"
    found = loaded(
        text,
        BACKUP_AGENT_STORAGE__DESTINATIONS__OFF_SITE__PREFIX="neo4j",
        BACKUP_AGENT_STORAGE__DESTINATIONS__SECOND__BUCKET="other",
        BACKUP_AGENT_SCHEDULES__NIGHTLY__CRON="'*/5 * * * *'",
    ).settings

    assert {name: (one.bucket, one.prefix) for name, one in found.storage.destinations.items()} == {
        "off-site": ("backups", "neo4j"),
        "second": ("other", None),
    }
    assert found.schedules["Nightly"].cron == "*/5 * * * *"


def test_a_whole_section_from_a_variable_is_changed_by_variables_below_it() -> None:
    found = loaded(LEAST, BACKUP_AGENT_RETENTION__DAILY="5", BACKUP_AGENT_RETENTION="{daily: 1, weekly: 2}").settings

    assert found.retention is not None
    assert (found.retention.daily, found.retention.weekly) == (5, 2)


def test_a_value_that_is_not_yaml_names_its_variable() -> None:
    (fault,) = faults(LEAST, BACKUP_AGENT_SCHEDULES__N__CRON="*/5 * * * *")

    assert fault.startswith("environment BACKUP_AGENT_SCHEDULES__N__CRON: line 1, column 2:")
    assert "quotes" in fault


# Where values come from


def test_every_value_in_force_has_its_origin() -> None:
    text = (
        LEAST
        + "limits: {parallel: 2}\nretention: {daily: 3}\nstorage: {destinations: {a: {bucket: bbb, put_options: {Tagging: x=y}}}}"
    )
    found = {entry.path: (entry.value, entry.origin) for entry in in_force(loaded(text, BACKUP_AGENT_RETENTION__WEEKLY="4", BACKUP_AGENT_LOG="{level: debug}"))}  # fmt: skip

    assert found["cluster"] == ("demo", "file")
    assert found["limits.parallel"] == (2, "file")
    assert found["limits.run_timeout"] == ("6h", "default")
    assert found["retention.daily"] == (3, "file")
    assert found["retention.weekly"] == (4, "environment BACKUP_AGENT_RETENTION__WEEKLY")
    assert found["retention.monthly"] == (None, "default")
    assert found["log.level"] == ("debug", "environment BACKUP_AGENT_LOG")
    assert found["storage.destinations.a.put_options.Tagging"] == ("x=y", "file")
    assert found["schedules.default.cron"] == ("0 2 * * *", "default")
    assert found["databases"] == (["*"], "default")


def test_the_settings_in_force_written_to_a_file_load_to_the_same_settings() -> None:
    first = loaded(
        LEAST + "storage: {destinations: {a: {bucket: bbb, bandwidth: 50MiB}}}\nneo4j2: 1".replace("neo4j2: 1", "")
    )
    again = loaded(first.settings.model_dump_json())

    assert again.settings == first.settings


# The file


def test_the_file_named_on_the_command_line_comes_before_that_of_the_environment(tmp_path: Path) -> None:
    for name in ("named", "configured"):
        (tmp_path / name).write_text(LEAST.replace("demo\n", f"{name}\n"))
    environ = {"BACKUP_AGENT_CONFIG": str(tmp_path / "configured")}

    assert load(tmp_path / "named", environ).settings.cluster == "named"
    assert load(None, environ).settings.cluster == "configured"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    for path, environ in ((tmp_path / "none", {}), (None, {"BACKUP_AGENT_CONFIG": str(tmp_path / "none")})):
        with pytest.raises(SettingsError, match=r"none: no such file$"):
            load(path, environ)


def test_a_folder_is_refused_as_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: a directory, not a regular file"):
        load(tmp_path, {})


def test_a_file_of_more_than_256_kib_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"#" * (256 * 1024 + 1))

    with pytest.raises(SettingsError, match="at most 262144 bytes: is this the settings file"):
        load(tmp_path / "big", {})


def test_without_any_file_the_environment_is_enough() -> None:
    found = load(None, {"BACKUP_AGENT_CLUSTER": "demo", "BACKUP_AGENT_NEO4J__URI": "bolt://x"})

    assert found.source == "/etc/backup-agent/config.yaml"
    assert found.settings.cluster == "demo"


@pytest.mark.parametrize(
    "name", ["Bucket", "Key", "Body", "ChecksumSHA256", "ChecksumAlgorithm", "UploadId", "IfMatch", "StorageClas", "x"]
)
def test_a_put_option_that_is_not_allowed_is_refused_with_a_list_of_the_allowed_ones(name: str) -> None:
    [fault] = faults(f"{LEAST}\nstorage: {{destinations: {{a: {{bucket: bbb, put_options: {{{name}: x}}}}}}}}")

    assert f"put_options: expected no {name}: allowed are ACL, BucketKeyEnabled, " in fault
    assert "StorageClass, Tagging" in fault
    assert "the agent itself sets where an object is stored, its content, checksums, conditions and upload" in fault


def test_a_settings_file_may_be_a_link_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "config.yaml").write_text(LEAST)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")

    assert load(tmp_path / "config.yaml", {}).settings.cluster


def test_a_fifo_or_a_device_as_settings_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SettingsError, match="cannot be read: a FIFO"):
        load(tmp_path / "fifo", {})
    with pytest.raises(SettingsError, match="cannot be read: a device"):
        load(Path("/dev/zero"), {})
