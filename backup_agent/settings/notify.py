"""The settings of one receiver of notifications."""

from pydantic import Field, ValidationInfo, field_validator

from backup_agent.core.requests.notices import ReceiverKind
from backup_agent.settings.grammar import AbsolutePath, Label
from backup_agent.settings.section import Section


class Receiver(Section):
    """Who is told: a check that is pinged at each run, or a webhook that gets each change of the health."""

    kind: ReceiverKind = Field(
        description="ping: start, success and failure of runs, as healthchecks.io takes them; webhook, slack, teams: "
        "changes of the health, as JSON or as a message",
        examples=["ping"],
    )
    url_file: AbsolutePath = Field(
        description="file that holds the URL, which is a secret; read at each use",
        examples=["/run/secrets/notify/nightly"],
    )
    ca_file: AbsolutePath | None = Field(
        None,
        description="file with the CA certificates for the URL, if they are not public",
        examples=["/run/secrets/notify/ca.crt"],
    )
    schedules: tuple[Label, ...] = Field(
        (),
        description="for ping: only the runs of these schedules; without it those of all schedules, and all requests "
        "for backups",
        examples=[["nightly"]],
    )

    @field_validator("schedules")
    @classmethod
    def _for_pings(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("kind", ReceiverKind.PING) is not ReceiverKind.PING:
            raise ValueError("no schedules unless kind is ping: a change of the health belongs to no schedule")
        return value

    def follows(self, schedule: str | None, action: str) -> bool:
        """Return whether the run of a request is pinged: of a schedule, or None, and with an action."""
        if self.schedules:
            return schedule in self.schedules
        return schedule is not None or action == "backup"
