"""One run of the doctor: its steps, one after the other, and what they found. Commands and the agent share it."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import NamedTuple

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.doctor.checks import (
    CHECKS,
    Acceptance,
    Check,
    CheckFinding,
    CheckOutcome,
    Step,
    accepted,
    of_step,
    ok,
    unknown,
    warn,
)

UNPROTECTED = {
    Check.PLAIN_BOLT: "Bolt is encrypted, or stays on this machine",
    Check.UNCHECKED_BOLT: "the certificate of the Bolt server is checked, or Bolt is without TLS",
    Check.BACKUP_HOSTNAME: "certificates of the backup ports must name their hosts, or none is used",
}
"""Check of the settings -> the text of its finding if there is no problem."""


class DoctorStage(NamedTuple):
    """A step that is carried out: for a destination, with its name."""

    step: Step
    place: PlaceName | None = None


class CheckRun:
    """The state of one run."""

    def __init__(self, destinations: Iterable[PlaceName], unprotected: Mapping[str, str]) -> None:
        """Begin with the findings about the settings. `unprotected` maps a check of them to what is at risk."""
        self._ahead = [
            *(DoctorStage(step) for step in (Step.CLUSTER, Step.ADMIN, Step.VOLUME, Step.KEYS)),
            *(DoctorStage(Step.DESTINATION, name) for name in destinations),
        ]
        self._findings = [_of_settings(check, unprotected.get(check)) for check in of_step(Step.SETTINGS)]
        self.server_versions: tuple[str, ...] = ()
        """The servers' versions, as soon as a step has reported them."""
        self.backup_addresses: tuple[str, ...] = ()
        """The backup ports that accept connections, as soon as a step has reported them."""

    @property
    def stage(self) -> DoctorStage | None:
        """The stage that is carried out now or next; None at the end."""
        return self._ahead[0] if self._ahead else None

    def found(self, finding: CheckFinding) -> None:
        """Add what a check of the present stage found. The last finding of a check counts."""
        stage = self.stage
        if stage is not None and CHECKS[finding.check].step is stage.step:
            self._findings.append(finding.model_copy(update={"place": stage.place}))

    def ended(self, why_early: str | None = None) -> None:
        """End the present stage. Its checks without a finding are unknown, `why_early` says why."""
        stage = self._ahead.pop(0)
        known = {finding.check for finding in self._findings if finding.place == stage.place}
        for check in of_step(stage.step):
            if check not in known:
                nothing = unknown(check, why_early or "the check had no result")
                self._findings.append(nothing.model_copy(update={"place": stage.place}))

    def learned(self, server_versions: tuple[str, ...], backup_addresses: tuple[str, ...]) -> None:
        """Keep the facts for later steps that the end of a step reports. Most steps report none."""
        self.server_versions = server_versions or self.server_versions
        self.backup_addresses = backup_addresses or self.backup_addresses

    def restarted(self) -> None:
        """Forget the findings of the present stage, which begins again."""
        stage = self.stage
        self._findings = [
            one for one in self._findings if stage is None or DoctorStage(CHECKS[one.check].step, one.place) != stage
        ]

    def findings(self, accept: Mapping[Check, Acceptance], today: date) -> tuple[CheckFinding, ...]:
        """Return the findings until now, in the order of the table, destination by destination."""
        last = {(one.place, one.check): accepted(one, accept, today) for one in self._findings}
        order, places = list(Check), list(dict.fromkeys(place for place, _ in last))
        return tuple(sorted(last.values(), key=lambda one: (places.index(one.place), order.index(one.check))))


def _of_settings(check: Check, risk: str | None) -> CheckFinding:
    if risk is None:
        return ok(check, UNPROTECTED[check])
    found, _, advice = risk.partition(": ")
    return warn(check, found, advice)


ALERTING_RUNS = 2
"""A check that failed in so many runs in a row is an alert, and counts for the health."""


class Repeated(NamedTuple):
    """A check that fails: the number of runs of the doctor in a row in which it has failed, and since when."""

    runs: int
    since: datetime
    finding: CheckFinding


def repeated(
    before: Mapping[tuple[Check, PlaceName | None], Repeated], findings: Iterable[CheckFinding], now: datetime
) -> dict[tuple[Check, PlaceName | None], Repeated]:
    """Return the checks that fail now, each with the number of runs in which it has failed without a pause.

    A check that is unknown now keeps the number: not being able to look does not end a failure.
    """
    counted: dict[tuple[Check, PlaceName | None], Repeated] = {}
    for one in findings:
        key = (one.check, one.place)
        earlier = before.get(key)
        if one.counts is CheckOutcome.FAIL:
            counted[key] = Repeated(earlier.runs + 1, earlier.since, one) if earlier else Repeated(1, now, one)
        elif one.counts is CheckOutcome.UNKNOWN and earlier is not None:
            counted[key] = earlier
    return counted
