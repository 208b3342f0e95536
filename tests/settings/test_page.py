"""The page's address and the cluster's name, read without loading all settings, are those of the whole settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.settings.faults import SettingsError
from backup_agent.settings.load import load
from backup_agent.settings.page import agent_address
from tests.builders import settings_tree


def settings_file(folder: Path, tree: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize(
    ("http", "environ"),
    [
        pytest.param(None, {}, id="default"),
        pytest.param({"listen": "0.0.0.0:1"}, {}, id="default of a section"),
        pytest.param({"page": "127.0.0.2:99"}, {}, id="file"),
        pytest.param(None, {"BACKUP_AGENT_STORAGE__ROOT": "/elsewhere", "BACKUP_AGENT_CLUSTER": "other"}, id="root"),
        pytest.param({"page": "[::1]:99"}, {}, id="IPv6"),
        pytest.param({"page": "localhost:0"}, {}, id="any port"),
        pytest.param({"page": "127.0.0.2:99"}, {"BACKUP_AGENT_HTTP__PAGE": "127.0.0.3:98"}, id="environment"),
        pytest.param(None, {"BACKUP_AGENT_HTTP": '{"page": "127.0.0.3:98"}'}, id="section in the environment"),
    ],
)
def test_the_address_is_that_of_the_whole_settings(
    tmp_path: Path, http: dict[str, Any] | None, environ: dict[str, str]
) -> None:
    path = settings_file(tmp_path, settings_tree(**({} if http is None else {"http": http})))

    found, settings = agent_address(path, environ), load(path, environ).settings
    assert found is not None
    assert (found.host, found.port) == settings.http.page_address
    assert (found.cluster, found.root) == (settings.cluster, settings.storage.root)


@pytest.mark.parametrize(
    "http",
    [
        pytest.param({"page": "127.0.0.1"}, id="no port"),
        pytest.param({"page": "a b:1"}, id="no host"),
        pytest.param({"page": 8082}, id="a number"),
        pytest.param({"page": None}, id="null"),
        pytest.param([], id="no section"),
    ],
)
def test_there_is_no_address_if_its_setting_is_faulty(tmp_path: Path, http: object) -> None:
    path = settings_file(tmp_path, settings_tree(http=http))

    assert agent_address(path, {}) is None
    with pytest.raises(SettingsError, match="http"):
        load(path, {})


def test_a_file_that_cannot_be_read_gives_the_same_error_as_the_whole_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: [")
    with pytest.raises(SettingsError) as whole:
        load(path, {})
    with pytest.raises(SettingsError) as partly:
        agent_address(path, {})

    assert str(partly.value) == str(whole.value)
