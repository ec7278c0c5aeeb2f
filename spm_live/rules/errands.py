"""Tells notices to the world outside: posts them to webhooks, hands them to commands."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from spm_live.domain import Fault
from spm_live.publish.live_message import notice_message
from spm_live.rules.program import ErrandError, run_program
from spm_live.rules.webhook import post_json
from spm_live.scanning import Notice
from spm_live.settings_live import RuleSettings
from spm_live.sources import Report, StoppedError

logger = logging.getLogger(__name__)

WAITING = 32
"""Notices that may wait for one webhook or command; the oldest gives way."""
RETRY_S = (2.0, 10.0)
"""Before the second and the third try of a webhook, in s."""
FAULT_PERIOD_S = 60.0
"""One webhook or command reports one fault in so long; the next one tells how many there were."""
GRACE_S = 2.5
"""What waits when it is told to stop gets this long; then it is given up."""
END_S = 2.0
"""How long a thread may take to end after that."""

Post = Callable[[str, bytes, float, Callable[[], bool]], None]
Run = Callable[[Sequence[str], bytes, float, Callable[[], bool]], str]


@dataclass(frozen=True, slots=True)
class _Errand:
    """What one rule has done, one of its two ways.

    Parameters
    ----------
    rule : str
        Name of the rule.
    tries : int
        How often at most.
    act : callable
        Does it with the JSON of a notice; asks whether to give up; raises :class:`ErrandError`.
    """

    rule: str
    tries: int
    act: Callable[[bytes, Callable[[], bool]], object]


class Errands:
    """Runs the errands of all rules, each webhook and each command in a thread of its own.

    So one that hangs holds up no other. A notice may reach a webhook twice: an answer that was lost looks like none.

    Parameters
    ----------
    rules : sequence of RuleSettings
        The rules; those without a webhook or a command have nothing done.
    report : callable
        Takes a fault, of stage ``notify``; called from these threads.
    post, run : callable
        Post JSON to an address; run a command. Both raise :class:`ErrandError`.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        rules: Sequence[RuleSettings],
        report: Report,
        *,
        post: Post = post_json,
        run: Run = run_program,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._closing = threading.Event()
        self._cancelled = threading.Event()
        self._runners = [
            _Runner(errand, report, self._closing, self._cancelled, clock)
            for rule in rules
            for errand in _errands_of(rule, post, run)
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for runner in self._runners:
            runner.start()

    def send(self, notice: Notice) -> None:
        """Have a notice told; returns at once, from any thread, also before the start and after the stop."""
        if self._closing.is_set():
            return
        body = json.dumps(notice_message(notice)).encode("ascii")
        for runner in self._runners:
            if runner.errand.rule == notice.rule:
                runner.put(body)

    def stop(self) -> None:
        """End within 5 s: what waits has half of that to be told, the rest is given up and counted in the log."""
        self._closing.set()
        for seconds, last in ((GRACE_S, False), (END_S, True)):
            end_s = time.monotonic() + seconds
            for runner in self._runners:
                runner.wake()
                runner.join(max(0.0, end_s - time.monotonic()))
            if not last:
                self._cancelled.set()
        for runner in self._runners:
            if left := runner.counters()["waiting"]:
                logger.warning("rule %s: %d notice(s) were not told before the stop", runner.errand.rule, left)

    def counters(self) -> Mapping[str, int]:
        """How many were ``done``, ``failed``, ``dropped`` (the queue was full) and are ``waiting``, all together."""
        total = Counter({"done": 0, "failed": 0, "dropped": 0, "waiting": 0})
        for runner in self._runners:
            total.update(runner.counters())
        return dict(total)


def _errands_of(rule: RuleSettings, post: Post, run: Run) -> list[_Errand]:
    errands = []
    if (url := rule.webhook) is not None:
        tries = 1 + len(RETRY_S)
        errands.append(_Errand(rule.name, tries, lambda body, ended: post(url, body, rule.timeout_s, ended)))
    if rule.command:
        errands.append(_Errand(rule.name, 1, lambda body, ended: run(rule.command, body, rule.timeout_s, ended)))
    return errands


class _Runner:
    """The thread of one errand."""

    def __init__(
        self,
        errand: _Errand,
        report: Report,
        closing: threading.Event,
        cancelled: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self.errand = errand
        self._report = report
        self._closing = closing
        self._cancelled = cancelled
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._counters: Counter[str] = Counter()
        self._untold = 0
        self._told_s: float | None = None
        # A daemon thread: the system may hold a post in a place where nothing reaches it.
        self._thread = threading.Thread(target=self._run, name=f"spm-live-notify-{errand.rule}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, body: bytes) -> None:
        with self._changed:
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self._counters["dropped"] += 1
            self._waiting.append(body)
            self._changed.notify()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def counters(self) -> Counter[str]:
        with self._changed:
            return self._counters + Counter({"waiting": len(self._waiting)})

    def _run(self) -> None:
        dropped = 0
        while (body := self._next()) is not None:
            self._do(body)
            with self._changed:
                more, dropped = self._counters["dropped"] - dropped, self._counters["dropped"]
            if more:
                self._fault(f"{more} notice(s) were not told: they come faster than they can be told")

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            if not self._waiting or self._cancelled.is_set():
                return None
            return self._waiting.popleft()

    def _do(self, body: bytes) -> None:
        for number in range(1, self.errand.tries + 1):
            try:
                said = self.errand.act(body, self._cancelled.is_set)
            except ErrandError as error:
                last = not error.again or number == self.errand.tries
                if last or self._closing.wait(RETRY_S[number - 1]):
                    self._fault(f"{error}" + (f"; tried {number} times" if number > 1 else ""))
                    self._count("failed")
                    return
                logger.info("rule %s: %s; trying again", self.errand.rule, error)
            else:
                self._count("done")
                logger.info("rule %s: told%s", self.errand.rule, f"; it said: {said}" if said else "")
                return

    def _count(self, what: str) -> None:
        with self._changed:
            self._counters[what] += 1

    def _fault(self, reason: str) -> None:
        """Report a fault, but not one after the other."""
        now_s = self._clock()
        if self._told_s is not None and now_s - self._told_s < FAULT_PERIOD_S:
            self._untold += 1
            logger.info("rule %s: %s", self.errand.rule, reason)
            return
        if self._untold:
            reason += f"; {self._untold} more since the last fault of this rule"
        self._told_s, self._untold = now_s, 0
        try:
            self._report(Fault(f"rule {self.errand.rule}", "notify", reason, datetime.now(UTC)))
        except StoppedError:
            logger.warning("rule %s: %s", self.errand.rule, reason)
