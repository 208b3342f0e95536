"""The commands that ask the agent for one thing, and wait for its answer."""

import os

import click

from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.cli.dropping import drop, wait_for

by_option = click.option("--requested-by", default=lambda: os.environ.get("USER"), help="Who asks; else $USER.")
timeout_option = click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait; the request goes on.")


def ask(context: click.Context, timeout: float | None, *, as_json: bool, **fields: object) -> int:
    """Drop a request and wait for its answer; return the exit code."""
    return wait_for(drop(loaded(context).settings, fields), timeout, as_json=as_json)


__all__ = ["ask", "by_option", "json_option", "settings_option", "timeout_option"]
