"""Reporting to the supervisor, which has no key, whether this process could sign what it wrote."""

from backup_agent.core.requests.events import SigningTold
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.signing.keyring import Keyring


def tell_signing(keyring: Keyring, writer: EventWriter) -> None:
    """Report why the last document was left unsigned although the settings name a key, or None."""
    writer.tell(SigningTold(fault=keyring.fault))
