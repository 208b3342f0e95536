"""docs/lost-everything.md: its commands, from nothing to a server that has the data again, as far as Community goes.

The cluster is simulated. Neo4j Community loads the fetched full in the server's container, and then serves it.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.components.containers import ROOT, Podman
from tests.components.neo4j_community import CommunityHome, CommunityServer
from tests.components.seaweedfs import SeaweedFS
from tests.container.conftest import VERSION
from tests.container.world import CREDENTIALS, DATABASE, SERVER_POD, World

PAGE = ROOT / "docs/lost-everything.md"


def commands(page: str) -> list[str]:
    """Return the commands of a page in their order."""
    return re.findall(r"^ {4,}((?:kubectl|backup-agent) .*)$", page, re.MULTILINE)


@pytest.mark.nightly
def test_the_commands_of_the_page_lead_from_a_bucket_to_a_serving_server(
    podman: Podman, image: str, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    destination = seaweedfs.place("lost")
    del destination["region"]
    with World(podman, image, tmp_path / "world", servers=1, destination=destination) as world:
        world.back_up("--type", "FULL")
        world.commit(DATABASE)
        world.back_up("--type", "DIFF", "--database", DATABASE)
        world.lose_everything()
        machine = tmp_path / "machine"
        machine.mkdir()
        (machine / "spec.yaml").write_text(world.spec)
        (machine / "credentials").write_text(CREDENTIALS)
        (machine / "backup_agent").symlink_to(ROOT / "backup_agent")
        for command in commands(PAGE.read_text()):
            completed = world.sh(command, cwd=str(machine))
            # The bucket belongs to the lost agent: the copy fails, perhaps before the command looks.
            expected = (0, 3) if "--wait=local" in command else (0,)
            assert completed.returncode in expected, f"{command}\n{completed.stdout}{completed.stderr}"
            if f"restore {DATABASE}" in command:
                plan = json.loads(world.sh(f"{command} --json").stdout)
                assert (plan["target"], plan["place"]) == (DATABASE, "offsite")
                for step in plan["steps"]:
                    if step["language"] == "sh":
                        ran = world.sh("\n".join(step["lines"]))
                        assert ran.returncode == 0, f"{step['title']}\n{ran.stdout}{ran.stderr}"
        podman("cp", f"{SERVER_POD}:/data", str(tmp_path / "data"))
    serves(tmp_path / "data", tmp_path / "home")


def serves(data: Path, folder: Path) -> None:
    """Start Neo4j Community on the data of the server, and read the orders."""
    folder.mkdir()
    home = CommunityHome.create(VERSION, folder)
    for kind in ("databases", "transactions"):  # Community has one database, which is called neo4j
        shutil.copytree(data / kind / DATABASE, folder / "data" / kind / "neo4j")
    server = CommunityServer(home).start()
    try:
        assert server.query("MATCH (o:Order) RETURN count(o) AS orders") == [{"orders": 12}]
    finally:
        server.stop()
