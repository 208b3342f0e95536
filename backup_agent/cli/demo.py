"""`backup-agent demo`."""

from pathlib import Path

import click


@click.command(short_help="Show a day of the agent against a simulated cluster.")
@click.option("--once", is_flag=True, help="End after the day, instead of staying up until Ctrl-C.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where to run, and leave everything for a look.")
def command(folder: Path | None, *, once: bool) -> int:
    """Show a day of the agent on this machine. The cluster is simulated; the agent and, with the extra, S3 are real."""
    from backup_agent.demo import day  # noqa: PLC0415  the stand-ins are for this command alone
    from backup_agent.demo.world import DemoError  # noqa: PLC0415

    try:
        day.run(folder, click.echo, once=once)
    except DemoError as error:
        click.echo(f"backup-agent demo: {error}", err=True)
        return 1
    return 0
