"""The child process of the doctor that looks at keys and certificates: those in files, and those that servers show."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from backup_agent import durable, processes, quoting
from backup_agent.core.doctor.certificates import CertificateEnd, judge_certificates
from backup_agent.core.doctor.checks import Check, CheckFinding, ok, warn
from backup_agent.core.neo4j.topology import split
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.settings.addresses import split_address
from backup_agent.settings.model import BackupTls, Settings
from backup_agent.signing import certificate_file
from backup_agent.signing.keyring import Keyring

SECONDS = 5.0

PORTS_SECONDS = 60.0
"""Longest time for the certificates of all backup ports: half of the time of the step."""

BOLT_PORT, HTTPS_PORT = 7687, 443

LARGEST = 2**20


def check(task: CheckTask, settings: Settings, writer: EventWriter) -> None:
    """Report whether records can be signed, and when the first certificate expires."""
    writer.tell(CheckTold(finding=signing_key(settings)))
    writer.tell(CheckTold(finding=certificates(settings, task.backup_addresses)))
    writer.tell(ChecksEnded())


def signing_key(settings: Settings) -> CheckFinding:
    """Judge the key of `signing.key_file`."""
    if settings.signing.key_file is None:
        return ok(Check.SIGNING_KEY, "no key is set, and nothing is signed")
    keyring = Keyring(settings)
    keyring.check()
    if keyring.fault is None:
        return ok(Check.SIGNING_KEY, f"{settings.signing.key_file} can sign")
    advice = "mount the key there, readable for the agent's user; records are signed later, once it can be used"
    return warn(Check.SIGNING_KEY, f"records are not signed: {keyring.fault}", advice)


def certificates(settings: Settings, backup_addresses: tuple[str, ...]) -> CheckFinding:
    """Judge every certificate in use. The backup ports are asked if TLS is used there."""
    found: list[CertificateEnd] = []
    faults: list[str] = []
    for where, path in files(settings):
        try:
            found.append(
                CertificateEnd(
                    f"{where} ({path})", certificate_file.first_end(durable.read(path, LARGEST, follow=True))
                )
            )
        except (OSError, ValueError) as error:
            faults.append(f"{where}: {path}: {quoting.shown(error)}")
    for where, host, port in servers(settings):
        with suppress(OSError, ValueError):  # whether a server can be reached is another check
            found.append(CertificateEnd(f"{where} ({host}:{port})", certificate_file.end_of(_shown_by(host, port))))
    if settings.neo4j.backup_tls is not None:
        for one in _of_backup_ports(settings.neo4j.backup_tls, backup_addresses):
            if isinstance(one, CertificateEnd):
                found.append(one)
            else:
                faults.append(one)
    return judge_certificates(found, faults, datetime.now(UTC))


def files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield the files with certificates, each with its setting."""
    neo4j = settings.neo4j
    if neo4j.ca_file is not None:
        yield "neo4j.ca_file", neo4j.ca_file
    if neo4j.backup_tls is not None:
        yield "neo4j.backup_tls.ca_file", neo4j.backup_tls.ca_file
        yield "neo4j.backup_tls.cert_file", neo4j.backup_tls.cert_file
    for name, destination in settings.storage.destinations.items():
        if destination.ca_file is not None:
            yield f"storage.destinations.{name}.ca_file", destination.ca_file


def servers(settings: Settings) -> Iterator[tuple[str, str, int]]:
    """Yield the servers whose address the settings name, and that use TLS at once: setting, host and port."""
    uri = urlsplit(settings.neo4j.uri)
    if "+s" in uri.scheme:
        yield "neo4j.uri", uri.hostname or "", uri.port or BOLT_PORT
    for name, destination in settings.storage.destinations.items():
        url = urlsplit(destination.endpoint_url or "")
        if url.scheme == "https":
            host, port = split_address(url.netloc)
            yield f"storage.destinations.{name}.endpoint_url", host, port or HTTPS_PORT


def _of_backup_ports(tls: BackupTls, addresses: tuple[str, ...]) -> Iterator[CertificateEnd | str]:
    """Yield the end of the certificate that each backup port shows, or why it shows none, as far as time allows."""
    until = time.monotonic() + PORTS_SECONDS
    for address in addresses:
        if time.monotonic() > until:
            return
        host, port = split(address)
        try:
            shown = _shown_by(host, port or 0, tls)
            yield CertificateEnd(f"the backup port {address}", certificate_file.end_of(shown))
        except (OSError, ValueError) as error:
            yield f"the backup port {address} shows no certificate: {quoting.shown(error)}"


def _shown_by(host: str, port: int, tls: BackupTls | None = None) -> bytes:
    """Return the certificate that a server shows, in DER. It is not checked: only its end is wanted.

    `tls` has the certificate that this side shows: a backup port asks for one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    with (
        socket.create_connection((host, port), SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    check(*begin(CheckTask))


if __name__ == "__main__":
    main()
    processes.leave()
