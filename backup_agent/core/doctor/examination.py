"""One run of the doctor: its steps, one after the other, and what they found. Commands and the agent share it."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.doctor.checks import (
    CHECKS,
    Acceptance,
    Check,
    CheckOutcome,
    Finding,
    Step,
    accepted,
    of_step,
    ok,
    unknown,
    warn,
)

UNPROTECTED = {
    Check.PLAIN_BOLT: "Bolt is encrypted, or stays on this machine",
    Check.UNCHECKED_BOLT: "the certificate of the Bolt server is checked, or there is none",
    Check.BACKUP_HOSTNAME: "certificates of the backup ports must name their hosts, or none is used",
}
"""Check of the settings -> the text if there is no problem."""


class Stage(NamedTuple):
    """A step that is carried out: for a destination, with its name."""

    step: Step
    place: PlaceName | None = None


class Examination:
    """The state of one run."""

    def __init__(self, destinations: Iterable[PlaceName], unprotected: Mapping[str, str]) -> None:
        """Begin with the findings about the settings. `unprotected` maps a check of them to what is at risk."""
        self._ahead = [
            *(Stage(step) for step in (Step.CLUSTER, Step.ADMIN, Step.VOLUME, Step.KEYS)),
            *(Stage(Step.DESTINATION, name) for name in destinations),
        ]
        self._findings = [_of_settings(check, unprotected.get(check)) for check in of_step(Step.SETTINGS)]
        self.server_versions: tuple[str, ...] = ()
        """The servers' versions, once a step has told them."""

    @property
    def stage(self) -> Stage | None:
        """The stage that is carried out now or next; None at the end."""
        return self._ahead[0] if self._ahead else None

    def found(self, finding: Finding) -> None:
        """Add what a check of the present stage found. The last finding of a check counts."""
        stage = self.stage
        if stage is not None and CHECKS[finding.check].step is stage.step:
            self._findings.append(finding.model_copy(update={"place": stage.place}))

    def ended(self, why_early: str | None = None) -> None:
        """End the present stage. Its checks without a finding are unknown, `why_early` says why."""
        stage = self._ahead.pop(0)
        told = {finding.check for finding in self._findings if finding.place == stage.place}
        for check in of_step(stage.step):
            if check not in told:
                nothing = unknown(check, why_early or "the check told nothing")
                self._findings.append(nothing.model_copy(update={"place": stage.place}))

    def restarted(self) -> None:
        """Forget the findings of the present stage, which begins again."""
        stage = self.stage
        self._findings = [
            one for one in self._findings if stage is None or Stage(CHECKS[one.check].step, one.place) != stage
        ]

    def findings(self, accept: Mapping[Check, Acceptance], today: date) -> tuple[Finding, ...]:
        """Return the findings until now, in the order of the table, destination by destination."""
        last = {(one.place, one.check): accepted(one, accept, today) for one in self._findings}
        order, places = list(Check), list(dict.fromkeys(place for place, _ in last))
        return tuple(sorted(last.values(), key=lambda one: (places.index(one.place), order.index(one.check))))


def _of_settings(check: Check, risk: str | None) -> Finding:
    if risk is None:
        return ok(check, UNPROTECTED[check])
    found, _, advice = risk.partition(": ")
    return warn(check, found, advice)


class Repeated(NamedTuple):
    """How often in a row a check has failed: in so many runs of the doctor."""

    runs: int
    finding: Finding


def repeated(
    before: Mapping[tuple[Check, PlaceName | None], Repeated], findings: Iterable[Finding]
) -> dict[tuple[Check, PlaceName | None], Repeated]:
    """Return the checks that fail now, each with the number of runs in which it has failed without a pause.

    A check that is unknown now keeps the number: not being able to look does not end a failure.
    """
    counted: dict[tuple[Check, PlaceName | None], Repeated] = {}
    for one in findings:
        key = (one.check, one.place)
        earlier = before.get(key)
        if one.counts is CheckOutcome.FAIL:
            counted[key] = Repeated(earlier.runs + 1 if earlier else 1, one)
        elif one.counts is CheckOutcome.UNKNOWN and earlier is not None:
            counted[key] = earlier
    return counted
