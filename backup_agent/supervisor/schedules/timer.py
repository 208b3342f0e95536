"""The timer of the schedules, made with APScheduler. It only wakes the agent; core.requests.schedules decides.

A call of `on_due` says "check this schedule", not "this schedule is due": calls may come early, late or needlessly.
APScheduler reads the wall clock once and then sleeps by the monotonic clock: if the wall clock is set forward by an
hour, APScheduler wakes an hour late. So `on_due` is also called for every schedule at each heartbeat of the monotonic
clock, and APScheduler then reads the wall clock again.
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
    """Fires when a run of a timetable starts, jitter included. APScheduler's CronTrigger counts weekdays differently.

    A suspended schedule fires as well: core.requests.schedules then marks the due time as handled, so that the run is
    not made when the schedule is resumed.
    """

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = replace(timetable, suspend=False)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next start after now, in UTC."""
        del previous_fire_time  # all starts since then are one call; core.requests.schedules counts them
        return next(self._timetable.runs_after(now)).start


class Timer:
    """Calls `on_due(schedule)` from threads of its own. `on_due` must return at once and must not raise."""

    def __init__(self, on_due: Callable[[str], None], heartbeat: timedelta = HEARTBEAT) -> None:
        self._on_due = on_due
        self._heartbeat = heartbeat
        self._names: tuple[str, ...] = ()
        self._lock = Lock()
        self._stopped = Event()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            # One call for all starts that were missed, however late.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._pulse = Thread(target=self._beat, name="timer heartbeat", daemon=True)

    def set(self, timetables: Mapping[str, Timetable]) -> None:
        """Replace the schedules."""
        with self._lock:
            self._names = tuple(timetables)
            self._scheduler.remove_all_jobs()
            for name, timetable in timetables.items():
                self._scheduler.add_job(self._on_due, StartTrigger(timetable), args=(name,), id=name)

    def start(self) -> None:
        """Start both threads."""
        self._scheduler.start()
        self._pulse.start()

    def stop(self) -> None:
        """Stop both threads, after waiting for a call of `on_due` that is under way."""
        self._stopped.set()
        self._pulse.join()
        self._scheduler.shutdown()

    def _beat(self) -> None:
        while not self._stopped.wait(self._heartbeat.total_seconds()):
            with self._lock:
                for name in self._names:
                    self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))
