"""The command line. Only `main` calls `sys.exit`."""
