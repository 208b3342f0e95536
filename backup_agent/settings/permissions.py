"""The text that says what `requests.allow` forbids."""


def forbidden(key: str) -> str:
    """Return the fault of a request that needs a key of `requests.allow`: what forbids it, and how to change that."""
    return (
        f"the agent's settings forbid it: requests.allow.{key} is false. To allow it, set it to true in the settings "
        f"file (rendered by `render`: backup.settings.requests.allow.{key} of the spec); no restart is needed"
    )
