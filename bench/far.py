"""A proxy that puts a long way between a client and a server: it delays and limits each connection.

Started by the benchmarks; by hand: `python bench/far.py PORT [--rtt 50] [--per-connection 20] [--processes 2]`, where
PORT is the server's on 127.0.0.1. It prints the port on which it listens, and runs until its standard input ends.

Each direction of a connection is a line: bytes leave it at most at `--per-connection` (10^6 bytes per second), and
arrive half of `--rtt` (milliseconds) later. A new connection needs one `--rtt` more, as the handshake of TCP does. Slow
start and losses are not modelled, so a real line of this kind is slower. Without both options the proxy only copies:
bench/upload.py measures that first, to show that the proxy itself is not the limit.
"""

import argparse
import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = 256 * 1024
AHEAD = 0.02
"""Seconds by which bytes may be read before the line is free: the wake-ups of the loop are not more precise."""
BUFFER = 512 * 1024
"""Receive buffer of a client's connection. The kernel's default would take several MB beyond the limit at once."""


class Lane:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket, rtt: float, rate: float, free_at: float) -> None:
        self.source, self.target = source, target
        self.delay, self.rate = rtt / 2, rate
        self.free_at = free_at
        """When the last byte has left, in monotonic seconds."""
        self.under_way: deque[tuple[float, memoryview]] = deque()
        self.most = max(4 * BLOCK, int(3 * rate * self.delay))
        self.size = 0
        self.ended = False
        self.shut = False
        self.blocked = False

    def may_read(self, now: float) -> bool:
        """Return whether the line takes more bytes now."""
        return not self.ended and self.size < self.most and self.free_at <= now + AHEAD

    def read(self, now: float) -> None:
        """Let the next block leave."""
        try:
            block = self.source.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        if not block:
            self.ended = True
            return
        self.free_at = max(self.free_at, now) + (len(block) / self.rate if self.rate else 0)
        self.under_way.append((self.free_at + self.delay, memoryview(block)))
        self.size += len(block)

    def write(self, now: float) -> None:
        """Hand over the blocks that have arrived."""
        while not self.blocked and self.under_way and self.under_way[0][0] <= now:
            due, block = self.under_way.popleft()
            try:
                count = self.target.send(block)
            except BlockingIOError:
                count, self.blocked = 0, True
            except OSError:
                self.ended, self.size = True, 0
                self.under_way.clear()
                return
            self.size -= count
            if count < len(block):
                self.under_way.appendleft((due, block[count:]))
                self.blocked = True

    def next_time(self, now: float) -> float:
        """Return when this lane has something to do that no socket reports."""
        times = [self.under_way[0][0]] if self.under_way and not self.blocked else []
        if not self.ended and self.size < self.most and self.free_at > now + AHEAD:
            times.append(self.free_at - AHEAD)
        return min(times, default=now + 1)


class Way:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, port: int, rtt: float, rate: float) -> None:
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", port))
        for one in (self.client, self.server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = time.monotonic()
        self.up = Lane(self.client, self.server, rtt, rate, now + rtt)
        self.down = Lane(self.server, self.client, rtt, rate, now)
        self.lanes = (self.up, self.down)
        self.registered: dict[socket.socket, int] = {}

    def step(self, now: float) -> None:
        """Hand over what has arrived, and then the end of what a side sends."""
        for lane in self.lanes:
            lane.write(now)
            if lane.ended and not lane.under_way and not lane.shut:
                lane.shut = True
                with contextlib.suppress(OSError):
                    lane.target.shutdown(socket.SHUT_WR)

    @property
    def over(self) -> bool:
        """Whether both directions have ended."""
        return all(lane.shut for lane in self.lanes)

    def wanted(self, one: socket.socket, now: float) -> int:
        """Return the events of one of the sockets that the connection waits for."""
        read = any(lane.source is one and lane.may_read(now) for lane in self.lanes)
        write = any(lane.target is one and lane.blocked for lane in self.lanes)
        return (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)


class Proxy:
    """All connections of one process."""

    def __init__(self, listener: socket.socket, port: int, rtt: float, rate: float) -> None:
        self.listener, self.port, self.rtt, self.rate = listener, port, rtt, rate
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        self.ways: set[Way] = set()

    def run(self) -> None:
        """Serve all connections until the process ends."""
        while True:
            now = time.monotonic()
            until = min((lane.next_time(now) for way in self.ways for lane in way.lanes), default=now + 1)
            for key, events in self.selector.select(max(0.0, until - now)):
                if key.fileobj is self.listener:
                    self._accept()
                else:
                    self._ready(key.data, key.fileobj, events)
            now = time.monotonic()
            for way in tuple(self.ways):
                way.step(now)
                self._register(way, now)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):  # another process has accepted it
            self.ways.add(Way(self.listener.accept()[0], self.port, self.rtt, self.rate))

    def _ready(self, way: Way, one: object, events: int) -> None:
        now = time.monotonic()
        for lane in way.lanes:
            if lane.source is one and events & selectors.EVENT_READ and lane.may_read(now):
                lane.read(now)
            if lane.target is one and events & selectors.EVENT_WRITE:
                lane.blocked = False

    def _register(self, way: Way, now: float) -> None:
        for one in (way.client, way.server):
            events = 0 if way.over else way.wanted(one, now)
            before = way.registered.get(one, 0)
            if events == before:
                continue
            if not before:
                self.selector.register(one, events, way)
            elif events:
                self.selector.modify(one, events, way)
            else:
                self.selector.unregister(one)
            way.registered[one] = events
        if way.over:
            way.client.close()
            way.server.close()
            self.ways.discard(way)


@contextmanager
def far(port: int, rtt: float, per_connection: float, processes: int = 2) -> Iterator[int]:
    """Run the proxy before a port of this machine, in processes of its own, and yield its port."""
    argv = (sys.executable, Path(__file__), str(port), f"--rtt={rtt}", f"--per-connection={per_connection}")
    with subprocess.Popen(
        (*argv, f"--processes={processes}"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        try:
            yield int(proxy.stdout.readline())
        finally:
            proxy.stdin.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("port", type=int)
    options.add_argument("--rtt", type=float, default=0, help="milliseconds")
    options.add_argument("--per-connection", type=float, default=0, help="MB per second, in each direction")
    options.add_argument("--processes", type=int, default=2)
    chosen = options.parse_args()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    for _ in range(chosen.processes - 1):
        if not os.fork():
            break

    def end_with_the_parent() -> None:
        while os.read(0, 1):
            pass
        os._exit(0)

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    Proxy(listener, chosen.port, chosen.rtt / 1000, chosen.per_connection * 1e6).run()


if __name__ == "__main__":
    main()
