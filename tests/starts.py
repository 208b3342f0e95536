"""The heavy modules that each process and each command of the agent imports at its start, and why.

`tests/test_starts.py` compares this table with the actual imports, `bench/starts.py` measures their cost.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup_agent.core.status import Status
from backup_agent.supervisor.status.http import HttpServer, status_pages
from tests.builders import settings_tree

HEAVY = frozenset(
    {
        "apscheduler", "asyncio", "boto3", "botocore", "click", "concurrent.futures", "cryptography", "http.client",
        "http.server", "importlib.metadata", "jinja2", "logging", "multiprocessing", "neo4j", "numpy", "pandas",
        "prometheus_client", "pyarrow", "pydantic", "rfc8785", "rich", "ssl", "structlog", "subprocess", "tempfile",
        "urllib.request", "watchdog", "yaml", "zipfile", "zstandard",
    }
)  # fmt: skip
"""Modules whose import takes 5 ms or more, together with what they import."""

COMMAND = "from backup_agent.__main__ import main; main()"


@dataclass(frozen=True)
class Start:
    """A program, as for `python -c`, with its arguments."""

    imports: Mapping[str, str]
    """Heavy module -> why it is imported."""
    code: str = COMMAND
    arguments: tuple[str, ...] = ()


_MODELS = {"pydantic": "the models of its task, its events, the settings and the records"}
_POOL = {
    "concurrent.futures": "records are read side by side",
    "logging": "concurrent.futures imports it",
}
_BOTO3 = {
    "boto3": "the S3 client",
    "botocore": "boto3's lower half",
    "http.client": "botocore and urllib3, which send the requests",
    "importlib.metadata": "urllib3 imports it",
    "multiprocessing": "s3transfer, which boto3 imports",
    "ssl": "TLS",
    "tempfile": "importlib.metadata imports it",
    "urllib.request": "botocore imports it",
    "zipfile": "importlib.metadata",
}
_DRIVER = {
    "neo4j": "Bolt",
    "asyncio": "the driver's other half, which it always imports",
    "concurrent.futures": "servers are asked side by side",
    "logging": "the driver logs by it",
    "ssl": "TLS of Bolt",
    "subprocess": "asyncio imports it",
}

PROCESSES = {
    "supervisor": Start(
        {
            **_MODELS,
            "structlog": "the log",
            "asyncio": "structlog imports it",
            "concurrent.futures": "asyncio imports it",
            "logging": "structlog, and libraries that log by it",
            "ssl": "asyncio imports it",
            "subprocess": "asyncio imports it",
            "apscheduler": "the timer of the schedules",
            "http.client": "http.server imports it",
            "http.server": "the pages; prometheus_client imports it too",
            "importlib.metadata": "apscheduler imports it",
            "multiprocessing": "apscheduler imports it",
            "prometheus_client": "/metrics",
            "tempfile": "importlib.metadata imports it",
            "urllib.request": "prometheus_client imports it",
            "watchdog": "inotify on the requests folder",
            "yaml": "the settings file",
            "zipfile": "importlib.metadata imports it",
        },
        "import backup_agent.supervisor.__main__",
    ),
    "discovery": Start({**_MODELS, **_DRIVER}, "import backup_agent.cluster.__main__"),
    "backup": Start(
        {
            **_MODELS,
            **_POOL,
            "subprocess": "it starts neo4j-admin",
            "zipfile": "it looks for the class of neo4j-admin in the jars",
            "zstandard": "it reads what was backed up",
        },
        "import backup_agent.jobs.backup",
    ),
    "destination": Start(_MODELS, "import backup_agent.jobs.destination"),
    "destination, copying": Start(
        {**_MODELS, **_POOL, **_BOTO3, "subprocess": "it starts copies that follow"},
        "import backup_agent.jobs.destination, backup_agent.jobs.copy\n"
        "from backup_agent.catalog.place import destinations\n"
        "from backup_agent.settings.model import Settings\n"
        "import sys\n"
        "[offsite] = destinations(Settings.model_validate_json(sys.argv[1]))\n"
        "offsite.store",
        (
            json.dumps(
                settings_tree(
                    storage={
                        "root": "/nowhere",
                        "destinations": {"offsite": {"bucket": "backups", "region": "eu-central-1"}},
                    }
                )
            ),
        ),
    ),
    "prune": Start({**_MODELS, **_POOL}, "import backup_agent.jobs.prune"),
    "survey": Start({**_MODELS, **_POOL}, "import backup_agent.jobs.survey"),
    "verify": Start({**_MODELS, **_POOL, "zstandard": "it reads artifacts"}, "import backup_agent.jobs.verify"),
    "hold": Start({**_MODELS, **_POOL}, "import backup_agent.jobs.hold"),
    "notify": Start(
        {
            **_MODELS,
            "http.client": "the receiver is asked over HTTP",
            "ssl": "TLS of the receiver",
            "tempfile": "urllib.request imports it",
            "urllib.request": "the HTTP client; it knows proxies",
        },
        "import backup_agent.jobs.notify",
    ),
    "page": Start(
        {
            **_MODELS,
            **_POOL,
            "jinja2": "it writes the page",
            "tempfile": "jinja2 imports it",
        },
        "import backup_agent.jobs.page",
    ),
    "check_cluster": Start({**_MODELS, **_DRIVER}, "import backup_agent.jobs.check_cluster"),
    "cluster_state": Start({**_MODELS, **_DRIVER}, "import backup_agent.jobs.cluster_state"),
    "check_admin": Start(
        {**_MODELS, "subprocess": "the module that finds neo4j-admin can run it", "zipfile": "the jars of neo4j-admin"},
        "import backup_agent.jobs.check_admin",
    ),
    "check_volume": Start({**_MODELS, **_POOL}, "import backup_agent.jobs.check_volume"),
    "check_keys": Start({**_MODELS, "ssl": "certificates that servers show"}, "import backup_agent.jobs.check_keys"),
    "check_destination": Start(_MODELS, "import backup_agent.jobs.check_destination"),
    "drill": Start(
        {
            **_MODELS,
            **_POOL,
            "subprocess": "it starts neo4j-admin",
            "zipfile": "it looks for classes of Neo4j in the jars",
            "zstandard": "it reads artifacts",
        },
        "import backup_agent.jobs.drill",
    ),
}

_CLICK = {"click": "the command line"}
_SETTINGS = {**_CLICK, "pydantic": "the models of the settings, requests and answers", "yaml": "the settings file"}
_HEADER = {"zstandard": "the metadata script is in the header of an artifact"}

COMMANDS = {
    "--help": Start(_CLICK, arguments=("--help",)),
    "--version": Start(_CLICK, arguments=("--version",)),
    "run": Start(_CLICK, arguments=("run", "--help")),
    "status": Start(
        {
            **_CLICK,
            "yaml": "the settings file has the address",
            "http.client": "the agent is asked over HTTP",
            "ssl": "http.client imports it",
        },
        arguments=("status",),
    ),
    "doctor": Start({**_SETTINGS, "subprocess": "each step is a process"}, arguments=("doctor", "--help")),
    "notify": Start(
        {
            **_SETTINGS,
            "http.client": "receivers are asked over HTTP",
            "ssl": "TLS of receivers",
            "tempfile": "urllib.request imports it",
            "urllib.request": "the HTTP client; it knows proxies",
        },
        arguments=("notify", "--help"),
    ),
    "request": Start(_SETTINGS, arguments=("request", "--database", "orders")),
    "cancel": Start(_SETTINGS, arguments=("cancel", "--help")),
    "list": Start({**_SETTINGS, **_POOL}, arguments=("list",)),
    "show": Start({**_SETTINGS, **_POOL, **_HEADER}, arguments=("show", "--help")),
    "restore": Start({**_SETTINGS, **_POOL}, arguments=("restore", "--help")),
    "drill": Start(
        {**_SETTINGS, **_POOL, "subprocess": "it starts the process of the drill"},
        arguments=("drill", "--help"),
    ),
    "fetch": Start({**_SETTINGS, **_POOL, **_HEADER}, arguments=("fetch", "--help")),
    "catalog": Start(
        {**_SETTINGS, **_POOL, "zstandard": "artifacts that are adopted are read"}, arguments=("catalog", "--help")
    ),
    "signing": Start({**_SETTINGS, **_POOL}, arguments=("signing", "--help")),
    "history": Start({**_SETTINGS, **_POOL}, arguments=("history", "--help")),
    "report": Start({**_SETTINGS, **_POOL}, arguments=("report", "--help")),
    "audit": Start({**_SETTINGS, **_POOL}, arguments=("audit",)),
    "plan": Start({**_SETTINGS, **_POOL}, arguments=("plan",)),
    "prune": Start(_SETTINGS, arguments=("prune", "--help")),
    "why": Start({**_SETTINGS, **_POOL}, arguments=("why", "--help")),
    "forget": Start({**_SETTINGS, **_POOL}, arguments=("forget", "--help")),
    "schedules": Start(_SETTINGS, arguments=("schedules",)),
    "adopt-root": Start(_SETTINGS, arguments=("adopt-root", "--help")),
    "config": Start(_SETTINGS, arguments=("config",)),
    "schema": Start({**_CLICK, "pydantic": "it writes the schemas"}, arguments=("schema", "--help")),
    "completion": Start({**_CLICK, "yaml": "the settings file has the places"}, arguments=("completion", "--help")),
    "render": Start(_SETTINGS, arguments=("render", "--help")),
    "migrate": Start({**_CLICK, "pydantic": "the models of the spec"}, arguments=("migrate", "--help")),
    "demo": Start({**_CLICK, "pydantic": "the models of answers"}, arguments=("demo", "--help")),
}
"""The commands in the module `asking` import the same as `prune`."""


@contextmanager
def world(folder: Path) -> Iterator[dict[str, str]]:
    """Write settings and serve a status, as an agent does. Yield the environment in which commands find both."""
    now = datetime.now(UTC)
    status = Status(
        cluster="demo", version="0", started=now, now=now, ready=True, surveyed=True, queue_depth=0,
        retention={"local": {}}, settings_valid=True, settings_loaded=now,
    )  # fmt: skip
    for name in ("backups", "requests"):
        (folder / name).mkdir()
    server = HttpServer("http.page", "127.0.0.1", 0, status_pages(lambda: status))
    file = folder / "config.yaml"
    file.write_text(  # JSON is YAML
        json.dumps(
            settings_tree(
                storage={"root": str(folder / "backups"), "require_volume": "never"},
                requests={"folder": str(folder / "requests")},
                http={"page": f"127.0.0.1:{server.port}"},
            )
        )
    )
    server.start()
    try:
        yield {"BACKUP_AGENT_CONFIG": str(file), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    finally:
        server.close()
