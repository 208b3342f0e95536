"""The command line. `sys.exit` stands once, in `main`."""
