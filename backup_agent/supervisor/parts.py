"""The parts of the agent and how they are connected. The loop that drives them is in `agent`."""

from collections.abc import Callable

from backup_agent.core.requests.answers import Answer
from backup_agent.core.requests.request import Request
from backup_agent.core.requests.tasks import SurveyTask
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.process import Ended, Told
from backup_agent.supervisor.children.runs import Runs
from backup_agent.supervisor.requests.reserve import Reserve
from backup_agent.supervisor.requests.spool import Spool
from backup_agent.supervisor.schedules.calendar import Calendar
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.status.health import ProblemMemory
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.trusted_clock import TrustedClock
from backup_agent.supervisor.work.actions import Actions
from backup_agent.supervisor.work.audit import Audit
from backup_agent.supervisor.work.awaited_copies import AwaitedCopies
from backup_agent.supervisor.work.backup_dispatch import BackupDispatch
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.child_events import ChildEvents
from backup_agent.supervisor.work.copy_passes import CopyPasses
from backup_agent.supervisor.work.destinations import Destinations
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.doctor import Doctor
from backup_agent.supervisor.work.drill_results import DrillResults
from backup_agent.supervisor.work.expected_backups import ExpectedBackups
from backup_agent.supervisor.work.intake import Intake
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.maintenance_queue import MaintenanceQueue
from backup_agent.supervisor.work.new_histories import NewHistories
from backup_agent.supervisor.work.notifications import Notifications
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.orders_file import orders_file
from backup_agent.supervisor.work.own_fulls import OwnFulls
from backup_agent.supervisor.work.status_page import StatusPage
from backup_agent.supervisor.work.survey import Survey
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries
from backup_agent.supervisor.work.waits import Waits


class Parts:
    """The parts of one agent."""

    def __init__(self, reloader: Reloader, tell: Callable[[Told | Ended], None], metrics: Metrics) -> None:
        """Create the parts; read and write nothing. `tell` is called with the events and the end of each child."""
        settings = reloader.settings
        root = settings.storage.root
        own = root / ".agent"
        self.reloader = reloader
        self.reserve = Reserve(own / "reserve")
        self.audit = Audit(root)
        self.audit_reserve = Reserve(own / "audit" / "reserve", parts=8)
        self.runs = Runs(str(root), tell)
        self.volume_summaries = VolumeSummaries()
        self.survey = Survey(self.runs, self.volume_summaries, self._survey_task)
        self.counters = Counters(metrics)
        self.spool = Spool(settings.requests.folder, str(root), self._refuse)
        self.requests = OpenRequests(self.spool, self._concluded, self._began)
        self.backup_queue = BackupQueue(self.requests)
        self.maintenance_queue = MaintenanceQueue(self.requests)
        self.awaited = AwaitedCopies(reloader, self.backup_queue, self.counters)
        self.copy_passes = CopyPasses(
            reloader, self.runs, self.maintenance_queue, self.volume_summaries, self.awaited, self.counters
        )
        self.discovery = Discovery(root)
        self.clock = TrustedClock(own / "clock.json", lambda: self.discovery.server_clock)
        self.orders = Orders(orders_file(root))
        self.expected_backups = ExpectedBackups(
            own / "expected.json", reloader, self.discovery, self.volume_summaries, self.orders, self.counters
        )
        self.problems = ProblemMemory()
        self.drill_results = DrillResults(reloader)
        self.maintenance = Maintenance(
            reloader,
            self.runs,
            self.maintenance_queue,
            self.volume_summaries,
            self.orders,
            self.discovery,
            self.counters,
            self.reserve,
            self.requests,
            self.drill_results,
        )
        self.destinations = Destinations(
            reloader,
            self.runs,
            self.backup_queue,
            self.maintenance_queue,
            self.maintenance,
            self.copy_passes,
            self.volume_summaries,
        )
        self.dispatch = BackupDispatch(
            reloader,
            root,
            self.runs,
            self.backup_queue,
            self.discovery,
            self.volume_summaries,
            self.orders,
            self.maintenance,
            self.maintenance_queue,
            self.destinations,
            self.awaited,
            self.counters,
        )
        self.actions = Actions(
            reloader,
            self.spool,
            self.requests,
            self.backup_queue,
            self.awaited,
            self.runs,
            self.maintenance,
            self.maintenance_queue,
            self.orders,
            self.discovery,
            self.volume_summaries,
            self.counters,
            self.audit,
        )
        self.intake = Intake(
            reloader,
            self.spool,
            self.requests,
            self.backup_queue,
            self.awaited,
            self.maintenance_queue,
            self.maintenance,
            self.actions,
            self.volume_summaries,
            self.counters,
        )
        self.doctor = Doctor(reloader, self.runs, self.backup_queue)
        self.notifications = Notifications(
            own / "notified.json", reloader, self.runs, self.backup_queue, self.orders, self.counters
        )
        self.status_page = StatusPage(reloader, self.runs, self.backup_queue)
        self.child_events = ChildEvents(
            reloader,
            self.runs,
            self.survey,
            self.dispatch,
            self.maintenance,
            self.copy_passes,
            self.discovery,
            self.volume_summaries,
            self.counters,
            self.intake,
            self.doctor,
            self.notifications,
            self.status_page,
        )
        self.new_histories = NewHistories(reloader, self.discovery, self.volume_summaries, self.dispatch.discover)
        self.own_fulls = OwnFulls(
            reloader,
            self.discovery,
            self.volume_summaries,
            self.drill_results,
            self.new_histories,
            self.requests,
            self.intake.ask,
        )
        self.waits = Waits(self.requests, self.runs, self.backup_queue, self.survey, self.orders)
        self.calendar = Calendar(own / "schedules.json", self.intake.submit, self._waits_for)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.reloader.settings

    def _began(self, answer: Answer) -> None:
        self.notifications.run_changed(answer)

    def _concluded(self, answer: Answer) -> None:
        self.counters.request(answer)
        self.notifications.run_changed(answer)

    def _waits_for(self, schedule: str) -> bool:
        return self.backup_queue.waits_for(schedule) or self.maintenance_queue.waits_for(schedule)

    def _refuse(self, request: Request) -> tuple[str, ...]:
        return self.intake.refuse(request)

    def _survey_task(self) -> SurveyTask:
        return SurveyTask(open_runs=self.backup_queue.open_runs(), settings=self.settings.model_dump(mode="json"))
