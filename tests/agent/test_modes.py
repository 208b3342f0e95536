"""Modes on the volume: other users have no rights, and another user of the same group continues a chain."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until

FIRST, SECOND, GROUP = 64001, 64002, 64100
PROTECTED = Path("/proc/sys/fs/protected_hardlinks")
IMPOSSIBLE = os.getuid() != 0 or shutil.which("setpriv") is None


def below(*tops: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield path and mode of these folders and of everything below them, and whether each is a folder."""
    for top in tops:
        for path in (top, *top.rglob("*")):
            facts = path.lstat()
            yield str(path.relative_to(top.parent)), stat.S_IMODE(facts.st_mode), stat.S_ISDIR(facts.st_mode)


def open_to_others(*tops: Path) -> list[str]:
    return [f"{path}: {mode:o}" for path, mode, _ in below(*tops) if mode & 0o007]


def test_other_users_have_no_rights_on_any_file_of_the_agent(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    live.settings["storage"]["destinations"] = {"offsite": seaweedfs.place(tmp_path.name)}
    live.settings["retention"] = {"last": 2}
    live.environ = KEYS
    live.start()
    live.fault({"do": "hang", "command": "backup", "database": "orders"})
    live.drop("hanging.request", id="hanging", database="orders")
    live.until_stage("hanging")
    staged = open_to_others(live.root, live.requests)
    live.fault()
    live.ask("c", action="cancel", id="hanging")
    live.final("hanging")
    for kind in ("FULL", "DIFF"):
        answer = live.ask(kind, database="orders", type=kind)
        assert answer["databases"]["orders"]["copies"] == {"offsite": "stored"}
        live.commit()
    live.drop("broken.request", content="no request")
    live.ask("p", action="prune", place="local")
    live.ask("v", action="verify", place="local")
    live.until_idle()
    modes = {path: (mode, folder) for path, mode, folder in below(live.root)}

    assert staged == []
    assert open_to_others(live.root) == []
    # A rejected file keeps the mode with which it was dropped. Its folder is closed to other users.
    assert [one for one in open_to_others(live.requests) if "/.spool/rejected/" not in one] == []
    assert {oct(mode) for mode, folder in modes.values() if folder} == {"0o2770"}
    assert {
        oct(mode)
        for path, (mode, _) in modes.items()
        if path.startswith("backups/default/") and path.endswith(".backup")
    } == {"0o660"}
    assert {oct(mode) for path, (mode, _) in modes.items() if path.endswith(".backup.json")} == {"0o640"}
    assert live.end() == 0


@pytest.fixture(name="shared")
def _shared() -> Iterator[Live]:
    """A live agent in a folder that any user can enter, and to which the group of both users can write."""
    with tempfile.TemporaryDirectory(prefix="neo4j-backup-agent-") as name:
        Path(name).chmod(0o755)
        with Live(Path(name) / "live") as live:
            os.chown(live.folder, FIRST, GROUP)
            live.folder.chmod(0o2775)
            live.cluster_folder.chmod(0o777)
            yield live


def of_user(live: Live, user: int) -> Live:
    """Run the agent as another user, with the right to read all files (Python is in a home folder here) but not to write."""
    words = ("setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups")
    live.prefix = (*words, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
    return live


@pytest.mark.skipif(IMPOSSIBLE, reason="only root changes users")
def test_another_user_of_the_same_group_continues_the_chain(shared: Live) -> None:
    assert PROTECTED.read_text().strip() == "1"
    of_user(shared, FIRST).start()
    assert shared.ask("one", database="orders", type="FULL")["state"] == "succeeded"
    shared.commit()
    assert shared.ask("two", database="orders", type="DIFF")["databases"]["orders"]["type"] == "DIFF"
    shared.kill_all()

    of_user(shared, SECOND).start()
    shared.commit()
    answer = shared.ask("three", database="orders", type="DIFF")

    assert (answer["state"], answer["databases"]["orders"]["type"]) == ("succeeded", "DIFF")
    owners = {(shared.root / "default/orders" / name).stat().st_uid for name in shared.artifacts()}
    assert owners == {FIRST, SECOND}
    assert shared.ask("p", action="prune", place="local")["state"] == "succeeded"
    assert not shared.events("modes not repaired")
    assert shared.end() == 0


@pytest.mark.skipif(IMPOSSIBLE, reason="only root changes users")
def test_a_chain_that_cannot_be_linked_is_followed_by_a_full_with_a_warning(shared: Live) -> None:
    of_user(shared, FIRST).start()
    assert shared.ask("one", database="orders", type="FULL")["state"] == "succeeded"
    assert shared.end() == 0
    (artifact,) = shared.artifacts()
    (shared.root / "default/orders" / artifact).chmod(0o640)
    (shared.root / "default/orders").chmod(0o2775)

    of_user(shared, SECOND).start()
    shared.commit()
    answer = shared.ask("two", database="orders", type="DIFF")

    assert (answer["state"], answer["databases"]["orders"]["type"]) == ("succeeded", "FULL")
    until(lambda: shared.events("differential not taken"), "warning")
    (warning,) = shared.events("modes not repaired")
    assert artifact in warning["because"] or "default/orders" in warning["because"]
    assert shared.end() == 0
