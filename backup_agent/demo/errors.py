"""Why the demo ends early."""


class DemoError(Exception):
    """A result of the demo did not come in time or was not as expected."""
