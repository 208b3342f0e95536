"""Loading the settings for a command.

Apart from `options`, because importing the models of the settings takes longer than all else that `--help` does.
"""

import os

import click

from backup_agent.cli.options import config_path
from backup_agent.settings.load import Loaded, load


def loaded(context: click.Context) -> Loaded:
    """Load the settings. Raise SettingsError with every fault."""
    return load(config_path(context), os.environ)
