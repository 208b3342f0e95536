"""Judge the certificates in use by the time at which they end."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from backup_agent.core.doctor.checks import Check, CheckFinding, fail, ok, unknown, warn
from backup_agent.core.escaping import first_few

SOON = timedelta(days=7)
"""A certificate that ends sooner is a failure, so that there is time to renew it."""

LATER = timedelta(days=30)
"""A certificate that ends sooner is a warning."""

RENEW = "renew the certificate, or have it renewed: backups and copies fail once it has ended"


class CertificateEnd(NamedTuple):
    """A certificate in use, and when it ends."""

    where: str
    """The setting with its file, or the address of the server that shows it."""
    end: datetime


def judge_certificates(certificates: Sequence[CertificateEnd], faults: Sequence[str], now: datetime) -> CheckFinding:
    """Judge all certificates in use. `faults` has those that could not be read, each with the reason.

    In a file with several certificates, the one that ends first counts.
    """
    ends = sorted(certificates, key=lambda one: one.end)
    ended = [f"{one.where} ended on {one.end:%Y-%m-%d}" for one in ends if one.end <= now]
    soon = [_ends(one) for one in ends if now < one.end <= now + SOON]
    later = [_ends(one) for one in ends if now + SOON < one.end <= now + LATER]
    if ended or soon:
        return fail(Check.CERTIFICATES, first_few([*ended, *soon]), RENEW)
    if later:
        return warn(Check.CERTIFICATES, first_few(later), RENEW)
    if faults:
        return unknown(Check.CERTIFICATES, first_few(faults))
    if not ends:
        return ok(Check.CERTIFICATES, "no certificate is in use")
    return ok(Check.CERTIFICATES, f"{len(ends)} in use; the next to end: {_ends(ends[0])}")


def _ends(one: CertificateEnd) -> str:
    return f"{one.where} ends on {one.end:%Y-%m-%d}"
