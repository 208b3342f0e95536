"""Lets starts of processes by the supervisor fail, as at a limit on process ids, while the file in REFUSE_WHILE exists.

Only the module in REFUSE_MODULE is meant; an audit hook that raises keeps the call from being made. With REFUSE_LINKS
hard links are refused to all, as some network volumes do. With REFUSE_WATCH no folder can be watched, as on a node
whose inotify instances are used up.
"""

import ctypes
import errno
import os
import sys
from pathlib import Path


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if event != "subprocess.Popen" or not isinstance(args[1], list) or os.environ["REFUSE_MODULE"] not in args[1]:
        return
    if Path(os.environ["REFUSE_WHILE"]).exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


if "REFUSE_WHILE" in os.environ:
    sys.addaudithook(_refuse)


def _refuse_links(event: str, args: tuple[object, ...]) -> None:
    if event == "os.link":
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), args[0])


if "REFUSE_LINKS" in os.environ:
    sys.addaudithook(_refuse_links)


def _refuse_watch() -> int:
    ctypes.set_errno(errno.EMFILE)
    return -1


if "REFUSE_WATCH" in os.environ:
    from watchdog.observers import inotify_c

    inotify_c.inotify_init = _refuse_watch
