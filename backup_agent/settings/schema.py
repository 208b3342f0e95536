"""The JSON Schema of the settings file, for editors and for `backup-agent schema config`. The agent does not use it."""

from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from backup_agent.core.durations import written_duration
from backup_agent.settings.model import Settings


class _AsWritten(GenerateJsonSchema):
    """Writes defaults in the form of the settings file: pydantic would write seven days as P7D."""

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401  pydantic's signature
        return written_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, with a description of every key."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Settings.model_json_schema(schema_generator=_AsWritten),
    }
