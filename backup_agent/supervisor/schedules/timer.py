"""The alarm clock of the schedules: the only home of APScheduler. It rings; core.schedules decides.

A ring says "look at this schedule", never "this schedule is due": rings come early, late and for nothing. APScheduler
sleeps until a time of the wall clock, on a clock that does not follow when the wall clock is moved, so a step of an
hour would be slept through and a step back by a day would make it wait for one. So every schedule also rings at each
heartbeat, which counts on the monotonic clock and makes APScheduler compute its next ring anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from backup_agent.core.requests.schedules import Timetable

HEARTBEAT = timedelta(seconds=30)


class StartTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Rings when a timetable's runs start, jitter included: `CronTrigger`, if cron meant cron there.

    A suspended schedule rings as well: core.schedules then settles the due time without a run, so that nothing is
    made up for when it is resumed.
    """

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = replace(timetable, suspend=False)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next start after now, in UTC."""
        del previous_fire_time  # what was slept through since is one ring, and counted by core.schedules
        return next(self._timetable.runs_after(now)).start


class Timer:
    """Rings for schedules from a thread of its own. `on_due` gets a name, must return at once, and must not raise."""

    def __init__(self, on_due: Callable[[str], None], heartbeat: timedelta = HEARTBEAT) -> None:
        self._on_due = on_due
        self._heartbeat = heartbeat
        self._names: tuple[str, ...] = ()
        self._lock = Lock()
        self._stopped = Event()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            # One ring for all that was slept through, however late.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._pulse = Thread(target=self._beat, name="timer heartbeat", daemon=True)

    def set(self, timetables: Mapping[str, Timetable]) -> None:
        """Ring for these schedules from now on, and for no others."""
        with self._lock:
            self._names = tuple(timetables)
            self._scheduler.remove_all_jobs()
            for name, timetable in timetables.items():
                self._scheduler.add_job(self._on_due, StartTrigger(timetable), args=(name,), id=name)

    def start(self) -> None:
        """Begin to ring."""
        self._scheduler.start()
        self._pulse.start()

    def stop(self) -> None:
        """End both threads; a ring under way is waited for. Nothing rings afterwards."""
        self._stopped.set()
        self._pulse.join()
        self._scheduler.shutdown()

    def _beat(self) -> None:
        while not self._stopped.wait(self._heartbeat.total_seconds()):
            with self._lock:
                for name in self._names:
                    self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))
