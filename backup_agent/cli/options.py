"""Options that several commands share. `--config` may come before or after the command's name."""

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from backup_agent.core.artifacts.names import VOLUME

PLACE = "PLACE"
"""What the help shows as the value of an option that takes a place."""

KEY = "backup_agent.config"


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config."""
    return click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_keep,
        help="The settings file; else $BACKUP_AGENT_CONFIG, else /etc/backup-agent/config.yaml.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def utc_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --utc, which sets the local time zone of the process to UTC."""
    return click.option(
        "--utc", is_flag=True, expose_value=False, callback=_to_utc, help="Show times in UTC, not in local time."
    )(command)


def place_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --place, with the volume as its default."""
    return click.option("--place", default=VOLUME, show_default=True, metavar=PLACE, help="`local` or a destination.")(
        command
    )


def config_path(context: click.Context) -> Path | None:
    """Return the value of `--config`, or None."""
    path = context.find_root().meta.get(KEY)
    return path if isinstance(path, Path) else None


def checked_name(check: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Return a click callback that checks a name. `check` returns the name, or raises ValueError."""

    def convert(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        try:
            return None if value is None else check(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return convert


def moment_option(
    parse: Callable[[str], datetime],
) -> Callable[[click.Context, click.Parameter, str | None], datetime | None]:
    """Return a click callback for a time. `parse` returns it, or raises ValueError."""

    def convert(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return convert


def _to_utc(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ["TZ"] = "UTC"
        time.tzset()


def _keep(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.find_root().meta[KEY] = value
