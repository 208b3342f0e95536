"""The command `backup-agent`, also as `python -m backup_agent`."""

from backup_agent.cli import signals

signals.end_at_once()

from backup_agent.cli.main import main  # noqa: E402  importing takes a third of a second, and Ctrl-C may come meanwhile

if __name__ == "__main__":
    main()
