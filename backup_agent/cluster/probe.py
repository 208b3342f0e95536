"""Tries a TCP connection to each backup address: to order them, and to explain a failure before neo4j-admin fails.

A server that does not answer is still passed to `--from`, after the others. Nothing is sent, so neither TLS nor the
kind of server is checked.
"""

import socket
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from backup_agent.core.neo4j.topology import split

SECONDS = 2.0
WORKERS = 32
RESOLVE_SECONDS = 10.0


def probe(addresses: Iterable[str], *, timeout: float = SECONDS) -> dict[str, str | None]:
    """Return address (host:port) -> None if a server listens there, else the reason.

    Takes about `timeout` seconds for each WORKERS addresses. A thread that still resolves a name is abandoned, since
    this cannot be interrupted.
    """
    wanted = tuple(dict.fromkeys(addresses))
    # WORKERS addresses are tried at a time. The deadline grows with the number of such waves.
    deadline = time.monotonic() + timeout * (1 + len(wanted) // WORKERS) + 0.5
    pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="probe")
    try:
        tried = {address: pool.submit(_try, address, timeout) for address in wanted}
        return {address: _result(future, address, deadline) for address, future in tried.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def resolve(host: str, *, timeout: float = RESOLVE_SECONDS) -> str | None:
    """Return None if a host name resolves, else the reason. A thread that still resolves is abandoned."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resolve")
    try:
        pool.submit(socket.getaddrinfo, host, None).result(timeout)
    except FutureTimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    except UnicodeError:
        return "it is no valid host name"
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return None


def _try(address: str, timeout: float) -> str | None:
    host, port = split(address)
    try:
        with socket.create_connection((host, port or 0), timeout):
            return None
    except ConnectionRefusedError:
        return (
            f"{address} refused the connection: server.backup.listen_address listens on 127.0.0.1 by default, "
            "set it to 0.0.0.0:6362; and server.backup.enabled must be true"
        )
    except socket.gaierror as error:
        return f"{address} does not resolve: {error.strerror}; see neo4j.backup_addresses"
    except TimeoutError:
        return _silent(address)
    except OSError as error:
        return f"{address} cannot be connected to: {error.strerror or error}"


def _result(future: Future[str | None], address: str, deadline: float) -> str | None:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:
        return _silent(address)


def _silent(address: str) -> str:
    return (
        f"{address} does not answer: a network policy may drop it, or the address is wrong (neo4j.backup_addresses); "
        "server.backup.listen_address must not be 127.0.0.1, its default"
    )
