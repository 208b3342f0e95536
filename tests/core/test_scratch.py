"""How Neo4j is called in a drill: everything is below the scratch folder, and nothing listens beyond the loopback."""

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.neo4j.command import MIB
from backup_agent.core.neo4j.scratch import check_argv, load_argv, restore_argv, scratch_conf, server_argv

ORDERS = DatabaseName("orders")


def test_all_folders_are_below_the_scratch_folder_and_all_listeners_on_the_loopback() -> None:
    conf = scratch_conf("/scratch/drill-1", ORDERS, port=7999, pagecache=16 * MIB)

    assert all(value.startswith("/scratch/drill-1/") for key, value in conf.items() if ".directories." in key)
    assert all(value.startswith("127.0.0.1") for key, value in conf.items() if key.endswith("_address"))
    assert {key for key, value in conf.items() if key.startswith("server.") and value == "true"} == {
        "server.bolt.enabled"
    }
    assert conf["initial.dbms.default_database"] == "orders"


def test_options_are_written_with_an_equals_sign_and_the_database_comes_last() -> None:
    assert restore_argv(("x",), artifact="/c/a.backup", temp_path="/t", database=ORDERS) == (
        "x",
        "database",
        "restore",
        "--from-path=/c/a.backup",
        "--temp-path=/t",
        "--overwrite-destination=true",
        "orders",
    )
    assert check_argv(("x",), report_path="/r", off_heap=64 * MIB, database=ORDERS)[3:] == (
        "--report-path=/r",
        "--max-off-heap-memory=64m",
        "orders",
    )


def test_a_full_of_one_file_is_loaded_from_standard_input_and_a_split_one_from_its_folder() -> None:
    assert load_argv((), folder=None, database=ORDERS)[2:] == (
        "--from-stdin",
        "--overwrite-destination=true",
        "orders",
    )
    assert load_argv((), folder="/c", database=ORDERS)[2] == "--from-path=/c"


def test_a_server_gets_home_and_configuration() -> None:
    assert server_argv(("java", "C"), home="/h", conf="/c") == (
        "java",
        "C",
        "--home-dir=/h",
        "--config-dir=/c",
        "--console-mode",
    )
