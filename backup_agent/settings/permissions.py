"""The text that says what `requests.allow` forbids."""


def forbidden(key: str) -> str:
    """Return the error for a request that `requests.allow.<key>` forbids, with the steps to allow it."""
    return (
        f"the agent's settings forbid it: requests.allow.{key} is false. To allow it, set it to true in the settings "
        f"file (rendered by `render`: backup.settings.requests.allow.{key} of the spec); no restart is needed"
    )
