"""On a terminal of 80 columns no line is longer, unless it contains a whole key, so that the key can be copied."""

from datetime import UTC, datetime

import pytest

from backup_agent.catalog.place import place_of
from backup_agent.cli import doctor, printing
from backup_agent.cli.audit_trail import trail_at
from backup_agent.core.artifacts.keys import damage_key, hold_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.doctor.checks import Check, fail
from backup_agent.core.protection.judging import DatabaseProtection
from backup_agent.core.status import DestinationStatus, ScheduleStatus, Status
from backup_agent.settings.load import load
from backup_agent.supervisor.status.http import HttpServer, status_pages
from tests.builders import TAKEN
from tests.cli.conftest import Place

WIDTH = 80
LONG = 60
"""A word of this length is a key, a path or a checksum."""
NAME = "customers-of-the-whole-world-and-of-all-their-branches-in-2026"
KEY = f"nightly-of-production/{NAME}/{NAME}-2026-11-23T02-00-00.backup"


@pytest.fixture(name="crowded")
def _crowded(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a volume with long names, a hold, damage and an audit log, and print as on a terminal."""
    place.settings |= {
        "retention": {"last": 1, "daily": 14, "max_delete_share": 1},
        "schedules": {NAME: {"cron": "0 2 * * *"}},
    }
    place.settings["storage"]["destinations"] = {"offsite-in-another-region": {"type": "s3", "bucket": "backups"}}
    records = [place.record(24 * day, database=NAME, set_name="nightly-of-production", stored=True) for day in range(4)]
    mark = Hold(
        key=records[0].key,
        since=TAKEN,
        reason="the audit of the year, which takes long",
        request="r",
        requested_by="an auditor",
    )
    (place.root / hold_key(records[0].key)).write_bytes(mark.to_json())
    (place.root / damage_key(records[1].key)).write_bytes(b"{}")
    trail = trail_at(place_of("local", load(place.config, {}).settings))
    for record in records:
        facts = {"type": "FULL", "size": record.size}
        why = "a sentence that says why, and that is longer than one line of the terminal"
        trail.tell(
            AuditLine(kind=AuditKind.DELETED, place="local", key=record.key, at=datetime.now(UTC), why=why, facts=facts)
        )
    monkeypatch.setattr(printing, "is_terminal", lambda **_: True)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("LINES", "24")
    return place


@pytest.mark.parametrize(
    "command",
    [
        "list", "list --held", "list --damaged", "show KEY", "why KEY", "plan", "plan --deletes", f"plan --forget {NAME}",
        "history", "audit", "config", "schedules", "list --database none", "catalog diff", "catalog rebuild",
        "request --wait --timeout 0", "status", "show none", "list --config /no-such-file.yaml",
    ],
)  # fmt: skip
def test_every_line_fits_a_terminal_of_80_columns(crowded: Place, command: str) -> None:
    result = crowded.run(*command.replace("KEY", KEY).split())
    lines = (result.out + result.err).splitlines()

    assert len(lines) > 1
    assert [line for line in lines if not fits(line)] == []


def fits(text: str) -> bool:
    return all(len(line) <= WIDTH or max(map(len, line.split())) >= LONG for line in text.splitlines())


def test_the_status_fits(crowded: Place) -> None:
    now = datetime.now(UTC)
    fault = "the servers do not answer, and this is said in a sentence that is longer than a line of the terminal"
    status = Status(
        cluster=NAME, version="0.2.0", started=now, now=now, ready=False, not_ready_because=(fault,), surveyed=True,
        queue_depth=0, retention={"local": {"last": 7, "daily": 14, "weekly": 8, "monthly": 12, "yearly": 7}},
        settings_valid=True, settings_loaded=now, bolt_up=False, bolt_error=fault,
        protection=(DatabaseProtection(set=SetName("nightly-of-production"), database=DatabaseName(NAME), state="late"),),
        destinations={"offsite-in-another-region": DestinationStatus(up=False, error=fault)},
        schedules={NAME: ScheduleStatus(cron="0 2 * * *", timezone="Europe/Berlin", type="FULL", suspended=False, next_runs=(now,))},
    )  # fmt: skip
    server = HttpServer("http.page", "127.0.0.1", 0, status_pages(lambda: status))
    crowded.settings["http"] = {"page": f"127.0.0.1:{server.port}"}
    crowded.settings["cluster"] = NAME
    server.start()
    try:
        result = crowded.run("status")
    finally:
        server.close()

    assert NAME[:20] in result.out
    assert fits(result.out)


def test_a_finding_of_the_doctor_fits(crowded: Place, capsys: pytest.CaptureFixture[str]) -> None:
    del crowded
    words = "a sentence of the doctor that is longer than one line of the terminal, and says what is to be done"
    doctor._print(fail(Check.BACKUP_PORTS, words, words))
    out = capsys.readouterr().out

    assert len(out.splitlines()) == 4
    assert fits(out)
