"""`python -m backup_agent` is `backup-agent`."""

from backup_agent.cli.main import main

main()
