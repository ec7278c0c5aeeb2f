"""Notices: what the rules say of scans and frames, told to everyone who listens and to those that the rules name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from spm_live.publish.feed import Feed
from spm_live.publish.live_message import NoticeLog
from spm_live.rules.book import RuleBook
from spm_live.rules.errands import Errands
from spm_live.scanning import LiveScan, Notice
from spm_live.settings_live import RuleSettings
from spm_live.sources import Report

logger = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Notices:
    """Asks the rules, and passes on what they say.

    Parameters
    ----------
    feed : Feed
        Where every notice is told.
    log : NoticeLog
        Where the newest are kept.
    report : callable
        Takes the faults of webhooks and commands.
    count : callable
        Called for each notice.
    """

    def __init__(self, feed: Feed, log: NoticeLog, report: Report, count: Callable[[], None]) -> None:
        self._feed = feed
        self._log = log
        self._report = report
        self._count = count
        self._book = RuleBook((), _utc_now)
        self._errands = Errands((), report)

    def use(self, rules: Sequence[RuleSettings]) -> None:
        """Take up rules; what those that stayed the same have told is not told again."""
        self.stop()
        self._book = RuleBook(rules, _utc_now, self._book)
        self._errands = Errands(rules, self._report)
        self._errands.start()

    def stop(self) -> None:
        """End the webhooks and commands, within 5 s."""
        self._errands.stop()

    def scanning(self, scan: LiveScan) -> None:
        """Ask the rules about a scan in progress."""
        self._tell(self._book.scanning(scan))

    def finished(self, message: Mapping[str, Any], replaced: LiveScan | None) -> None:
        """Ask the rules about a frame that was stored."""
        self._tell(self._book.finished(message, replaced))

    def _tell(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            logger.info("notice of rule %s: %s", notice.rule, notice.text)
            self._feed.publish("notice", self._log.add(notice))
            self._count()
            self._errands.send(notice)
