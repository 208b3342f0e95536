"""`backup-agent completion`."""

import os

import click

from backup_agent.cli import printing
from backup_agent.cli.completion_scripts import bash, described, fish, zsh
from backup_agent.cli.help import DONE, DocumentedCommand
from backup_agent.cli.options import config_path, settings_option
from backup_agent.core.artifacts.names import PLACE, VOLUME
from backup_agent.settings.faults import SettingsError
from backup_agent.settings.written import merge, read

SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent completion bash > /etc/bash_completion.d/backup-agent",
        'backup-agent completion zsh > "${fpath[1]}/_backup-agent"',
        "backup-agent completion fish > ~/.config/fish/completions/backup-agent.fish",
    ),
    exits={DONE: "printed"},
)
@click.argument("shell", type=click.Choice([*SCRIPTS]))
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Print the script as a JSON string.")
@click.pass_context
def command(context: click.Context, shell: str, as_json: bool) -> int:
    """Print the script by which a shell completes commands.

    The script completes commands, options, their values and the places of the settings, and never starts
    backup-agent. Make it again after an upgrade, and if the destinations have changed.
    """
    root = context.find_root().command
    script = SCRIPTS[shell](described(root, _places(context)))
    if as_json:
        printing.as_json(script)
    else:
        printing.document(script)
    return 0


def _places(context: click.Context) -> tuple[str, ...]:
    """Return the names of the places; only the volume if the settings cannot be read here."""
    try:
        file, content = read(config_path(context), os.environ)
        storage = merge(content, os.environ, str(file), ("storage",)).merged.get("storage")
    except SettingsError:
        return (VOLUME,)
    found = storage.get("destinations") if isinstance(storage, dict) else None
    names = found if isinstance(found, dict) else ()
    return VOLUME, *(name for name in names if isinstance(name, str) and PLACE.fullmatch(name))
