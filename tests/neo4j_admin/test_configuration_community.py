"""Neo4j's own loader reads the configuration that the agent writes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from backup_agent.core.neo4j.command import MIB, Memory
from backup_agent.neo4j_admin.configuration import write
from backup_agent.settings.model import BackupTls
from tests.components.java import compile_java, java_home
from tests.components.neo4j_community import CommunityHome

SOURCE = Path(__file__).with_name("BackupPolicy.java")


@pytest.mark.components
def test_neo4j_loads_the_client_policy_of_the_backup_port(
    community_home: Callable[[str], CommunityHome], neo4j_version: str, tmp_path: Path
) -> None:
    library = community_home(neo4j_version).folder / "lib"
    compile_java(SOURCE, library, tmp_path)
    authority = trustme.CA()
    client = authority.issue_cert("backup")
    files = {name: tmp_path / name for name in ("ca # 1.crt", "tls.crt", "tls.key")}
    authority.cert_pem.write_to_path(files["ca # 1.crt"])
    files["tls.crt"].write_bytes(b"".join(pem.bytes() for pem in client.cert_chain_pems))
    client.private_key_pem.write_to_path(files["tls.key"])
    tls = BackupTls(ca_file=files["ca # 1.crt"], cert_file=files["tls.crt"], key_file=files["tls.key"])
    write(tmp_path / "the conf", Memory(64 * MIB, 8 * MIB), tls)

    completed = subprocess.run(
        (
            str(java_home() / "bin/java"),
            "-cp",
            f"{tmp_path}:{library}/*",
            "BackupPolicy",
            str(tmp_path / "the conf/neo4j.conf"),
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert completed.stdout == "true\n1\n", completed.stderr
