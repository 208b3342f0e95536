"""Archives of what each released version left: its settings, requests, volume and bucket.

`python -m tests.agent.releases` makes the archive of the version that the checkout is of, by a live agent that stops in
the middle of a backup. Do so once, when that version is released: a later version must take up what is in it.
"""

import io
import json
import re
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from backup_agent import __version__
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.settings.load import load
from backup_agent.signing import key_file
from tests.agent.live import Live
from tests.components.seaweedfs import BUCKET, KEYS, SeaweedFS

HERE = Path(__file__).with_name("released")
ARCHIVES = tuple(sorted(HERE.glob("*.tar.xz")))
FOLDERS = ("backups", "backup-requests", "cluster")
REMADE = ("reserve", ".staging", "lock")
"""Folders and files without content that is kept: the agent makes them again at its start."""

LEASE = "bucket/demo/.agent/lease.json"
PREFIX = "released"
HELD = "kept for the audit of 2026"
OPEN = "interrupted"
"""The id of the request that was under way when the agent was killed."""


def make(archive: Path) -> None:
    """Let the agent of this checkout work, kill it during a backup, and archive what it leaves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seaweedfs = SeaweedFS(folder / "weed").start()
        try:
            with Live(folder / "world") as live:
                _work(live, seaweedfs)
                content = _content(live, seaweedfs)
        finally:
            seaweedfs.stop()
    with tarfile.open(archive, "w:xz", format=tarfile.PAX_FORMAT) as tar:
        for path, data in sorted(content.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))


def unpack(archive: Path, live: Live, seaweedfs: SeaweedFS, prefix: str) -> None:
    """Put the folders, the settings and the bucket's objects of an archive where a live agent finds them.

    The agent's notes on the destination are named after its address, which is another one now. The lease of the bucket is
    released: on another machine it expires only after minutes.
    """
    with tarfile.open(archive) as tar:
        files = {member.name: file.read() for member in tar if (file := tar.extractfile(member)) is not None}
    live.settings.update(yaml.safe_load(files.pop("settings.yaml")))
    live.settings["storage"] = {"root": str(live.root), **live.settings["storage"]}
    live.settings["storage"]["destinations"]["offsite"].update(seaweedfs.place(prefix))
    live.environ = KEYS
    live.write_settings()
    files[LEASE] = json.dumps({**json.loads(files[LEASE]), "released": True}).encode()
    notes = place_of(PlaceName("offsite"), load(live.config, {}).settings).folder("notes").name
    client = seaweedfs.client()
    for name, data in files.items():
        if name.startswith("bucket/"):
            client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name.removeprefix('bucket/')}", Body=data)
        else:
            path = live.folder / re.sub("offsite@[0-9a-f]{8}", notes, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _work(live: Live, seaweedfs: SeaweedFS) -> None:
    key = live.folder / "key.pem"
    live.settings["signing"] = {"key_file": str(key)}
    live.settings["signing"] = {**live.settings["signing"], "trusted": [key_file.create(key)]}
    live.settings["storage"]["destinations"] = {
        "offsite": {"type": "s3", **seaweedfs.place(PREFIX), "retention": {"last": 2}}
    }
    live.environ = KEYS
    live.start()
    first = _backed_up(live, "FULL")
    live.commit()
    _backed_up(live, "DIFF")
    assert live.ask("held", action="hold", artifact=first, reason=HELD, requested_by="ann")["state"] == "succeeded"
    for _ in range(3):
        live.commit()
        _backed_up(live, "FULL")
    live.commit()
    last = _backed_up(live, "DIFF")
    assert live.ask("read", action="verify", artifact=last)["state"] == "succeeded"
    assert live.ask("drilled", action="drill", artifact=last, level="read")["state"] == "succeeded"
    assert live.ask("neo4j", database="neo4j")["state"] == "succeeded"
    live.until_idle()
    live.fault({"do": "slow_checkpoint", "seconds": 600, "database": "orders"})
    live.commit()
    live.drop(
        f"{OPEN}.request", id=OPEN, database="orders", type="FULL", requested_by="bob", labels={"case": "upgrade"}
    )
    live.until_stage(OPEN)
    live.kill_all()
    live.fault()


def _backed_up(live: Live, kind: str) -> str:
    answer = live.ask(database="orders", type=kind, labels={"release": __version__})
    assert answer["state"] == "succeeded", answer
    return str(answer["databases"]["orders"]["artifact"])


def _content(live: Live, seaweedfs: SeaweedFS) -> dict[str, bytes]:
    """Return the files of the archive, by path."""
    files = {
        path.relative_to(live.folder).as_posix(): path.read_bytes()
        for name in FOLDERS
        for path in (live.folder / name).rglob("*")
        if path.is_file() and not set(REMADE) & set(path.relative_to(live.folder).parts)
    }
    kept: dict[str, Any] = {
        "cluster": live.settings["cluster"],
        "signing": {"trusted": live.settings["signing"]["trusted"]},
        "storage": {"destinations": live.settings["storage"]["destinations"]},
    }
    client = seaweedfs.client()
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/")["Contents"]
    objects = {
        f"bucket/{one['Key'].removeprefix(f'{PREFIX}/')}": client.get_object(Bucket=BUCKET, Key=one["Key"])[
            "Body"
        ].read()
        for one in found
    }
    made = {"version": __version__, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    return {**files, **objects, "settings.yaml": f"# {json.dumps(made)}\n{yaml.safe_dump(kept)}".encode()}


if __name__ == "__main__":
    target = HERE / f"{__version__}.tar.xz"
    make(target)
    sys.stdout.write(f"{target.name}: {target.stat().st_size} bytes\n")
