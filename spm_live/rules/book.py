"""The rules of a configuration, and what each has told already."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from spm_live.domain import FrameRef
from spm_live.rules.conditions import (
    OF_COUNTS,
    ended_without_file,
    frame_finished,
    quality_lost,
    tip_changed,
    where_bad,
)
from spm_live.rules.standing import Standing, of_map, of_message, one_line
from spm_live.scanning import LiveScan, LiveState, Notice, TipChange
from spm_live.settings_live import RuleSettings

logger = logging.getLogger(__name__)

REMEMBERED = 256
"""Scans and frames whose notices are remembered; the one that was not heard of for longest is forgotten first."""

SAME_CHANGE_LINES = 5
"""With more lines at hand, a tip change is placed better; so near to one that was told, it is the same."""


@dataclass(slots=True)
class _Told:
    """What is remembered of one scan or frame.

    Parameters
    ----------
    told : set of str
        Names of the rules that have spoken.
    once : dict of str to int
        Rules that held one time, and the lines at which they did.
    changes : dict of str to list of int
        Rule to the lines of the tip changes that it told.
    partial : bool
        What "finished" was told of was partial.
    """

    told: set[str] = field(default_factory=set)
    once: dict[str, int] = field(default_factory=dict)
    changes: dict[str, list[int]] = field(default_factory=dict)
    partial: bool = False


class RuleBook:
    """Says what is to be told of a scan or a frame; each rule tells once of each, and of each tip change.

    The counts of a scan in progress flicker near its front. A rule of coverage or count must hold in two successive
    maps of the scan before it tells, unless what it looks at is settled.

    Safe to be called from several threads.

    Parameters
    ----------
    rules : sequence of RuleSettings
        The rules; their names differ.
    clock : callable
        The time now; timezone-aware, UTC.
    before : RuleBook or None
        The one whose place it takes, at a reload: what rules told that are still the same is not told again.
    """

    def __init__(
        self, rules: Sequence[RuleSettings], clock: Callable[[], datetime], before: RuleBook | None = None
    ) -> None:
        self._rules = tuple(rules)
        self._clock = clock
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, _Told] = OrderedDict()
        self._unknown: set[str] = set()
        if before is not None:
            self._take_over(before)

    def scanning(self, scan: LiveScan) -> list[Notice]:
        """Look at a scan in progress.

        Parameters
        ----------
        scan : LiveScan
            Every revision of it, or some of them; also the last, so that its file is known when it is finished.

        Returns
        -------
        list of Notice
            What is new, in the order of the rules.
        """
        if not self._rules:
            return []
        standing = of_map(scan.map) if scan.map is not None else None
        with self._lock:
            memory = self._recall(_names_of(scan))
            self._warn_of_unknown_labels(standing)
            texts = [(rule, text) for rule in self._rules for text in _of_scan(rule, scan, standing, memory)]
        about = _about(scan, self._clock())
        subject = one_line(about.name) or f"scan {one_line(scan.scan)} of {one_line(scan.source)}"
        return [replace(about, rule=rule.name, text=_sentence(text, subject)) for rule, text in texts]

    def finished(self, message: Mapping[str, Any], replaced: LiveScan | None = None) -> list[Notice]:
        """Look at a frame that was stored, seen growing or not.

        Parameters
        ----------
        message : mapping
            Of type ``frame``, as it is told (see :mod:`spm_live.publish.message`). A frame that is told again, with the
            number it has, is not looked at anew.
        replaced : LiveScan or None
            The scan whose place it takes, where that is known. Left out, a scan in progress whose file has this name
            is taken for it.

        Returns
        -------
        list of Notice
            What is new, in the order of the rules. A partial frame is told as finished, and once more when the whole
            of it takes its place.
        """
        if not self._rules:
            return []
        standing = of_message(message)
        with self._lock:
            memory = self._memory_of(message, replaced)
            self._warn_of_unknown_labels(standing)
            if memory.partial and not message["partial"]:
                memory.told -= {rule.name for rule in self._rules if rule.when == "finished"}
            memory.partial = message["partial"]
            texts = [(rule, text) for rule in self._rules if (text := _of_frame(rule, standing, memory)) is not None]
        about = _about(replaced, self._clock()) if replaced is not None else Notice("", "", self._clock(), "", "")
        about = replace(
            about,
            source=about.source or message["source"],
            name=FrameRef(message["source"]).name,
            frame_id=message["id"],
            lines=message["complete_rows"],
        )
        return [replace(about, rule=rule.name, text=_sentence(text, one_line(about.name))) for rule, text in texts]

    def _memory_of(self, message: Mapping[str, Any], replaced: LiveScan | None) -> _Told:
        names = [f"id {message['id']}", *(f"id {number}" for number in message["supersedes"])]
        if replaced is not None:
            names += _names_of(replaced)
        memory = self._recall(names)
        # The name of a file stands for one scan, until its frame has come: another folder may have the same name.
        waiting = self._memory.pop(f"file {_file(message['source'])}", None)
        if replaced is None and waiting is not None:
            memory.told |= waiting.told
        return memory

    def _recall(self, names: Sequence[str]) -> _Told:
        """What is remembered under the first of these names that is known; from now on, under all of them."""
        memory = next((self._memory[name] for name in names if name in self._memory), None) or _Told()
        for name in names:
            known = self._memory.get(name, memory)
            if not name.startswith("file "):
                memory.told |= known.told
            self._memory[name] = memory
            self._memory.move_to_end(name)
        while len(self._memory) > 3 * REMEMBERED:  # one by its key, its file, its number
            self._memory.popitem(last=False)
        return memory

    def _take_over(self, before: RuleBook) -> None:
        same = {rule.name for rule in self._rules} & {rule.name for rule in before._rules if rule in self._rules}
        with before._lock:
            self._memory = OrderedDict(before._memory)
        for memory in self._memory.values():
            memory.told &= same
            memory.once = {}
            memory.changes = {rule: lines for rule, lines in memory.changes.items() if rule in same}

    def _warn_of_unknown_labels(self, standing: Standing | None) -> None:
        if standing is None:
            return
        for rule in self._rules:
            if rule.label is not None and rule.label not in standing.counts and rule.label not in self._unknown:
                self._unknown.add(rule.label)
                known = ", ".join(sorted(standing.counts)) or "none"
                logger.warning("rule %s: the model knows no class %r, only %s", rule.name, rule.label, known)


def _sentence(text: str, subject: str) -> str:
    """What is so, then of which scan: where a sentence is cut, its beginning stays."""
    return f"{text[0].upper()}{text[1:]}; {subject}."


def _of_scan(rule: RuleSettings, scan: LiveScan, standing: Standing | None, memory: _Told) -> list[str]:
    """The sentences of one rule on a scan in progress; what it told is noted."""
    lines, of_lines = scan.info.complete_rows, scan.info.geometry.rows
    if lines < rule.lines:
        return []
    if rule.when == "tip_change":
        changes = scan.quality.tip_changes if scan.quality is not None else ()
        return [tip_changed(change, of_lines) for change in changes if _is_new(change, rule.name, memory)]
    if rule.name in memory.told:
        return []
    text: str | None = None
    if rule.when == "quality" and scan.quality is not None:
        text = quality_lost(scan.quality, of_lines)
    elif rule.when == "finished" and scan.state is LiveState.ENDED:
        text = ended_without_file(standing, lines, of_lines)
    elif rule.when in OF_COUNTS and standing is not None and scan.state is not LiveState.REPLACED:
        text = _held(rule, standing, memory)
        if text is not None and rule.when == "nothing_found":
            text += where_bad(scan.quality)
    if text is None:
        return []
    memory.told.add(rule.name)
    return [text]


def _of_frame(rule: RuleSettings, standing: Standing, memory: _Told) -> str | None:
    """The sentence of one rule on a finished frame; what it told is noted."""
    if rule.name in memory.told or standing.lines < rule.lines:
        return None
    text: str | None = None
    if rule.when == "finished":
        text = frame_finished(standing)
    elif rule.when in OF_COUNTS:
        text = _held(rule, standing, memory)
    if text is not None:
        memory.told.add(rule.name)
    return text


def _held(rule: RuleSettings, standing: Standing, memory: _Told) -> str | None:
    """The sentence of a condition that is sure, or that held in the map before this one too."""
    if standing.lines < rule.lines:
        return None
    finding = OF_COUNTS[rule.when](rule, standing)
    if finding is None:
        memory.once.pop(rule.name, None)
        return None
    if finding.sure or memory.once.setdefault(rule.name, standing.lines) < standing.lines:
        return finding.text
    return None


def _is_new(change: TipChange, rule: str, memory: _Told) -> bool:
    told = memory.changes.setdefault(rule, [])
    if any(abs(change.line - line) <= SAME_CHANGE_LINES for line in told):
        return False
    told.append(change.line)
    return True


def _names_of(scan: LiveScan) -> list[str]:
    names = [f"key {scan.key}"]
    if scan.frame_id is not None:
        names.append(f"id {scan.frame_id}")
    if scan.saved_as and scan.state is LiveState.WAITING:
        names.append(f"file {_file(scan.saved_as)}")
    return names


def _file(source: str) -> str:
    """What a file is known by on the instrument's PC and here: the paths differ, and so may upper and lower case."""
    return FrameRef(source).name.casefold()


def _about(scan: LiveScan, when: datetime) -> Notice:
    return Notice(
        rule="",
        text="",
        when=when,
        source=scan.source,
        scan=scan.scan,
        name=FrameRef(scan.saved_as).name,
        key=scan.key,
        frame_id=scan.frame_id,
        lines=scan.info.complete_rows,
    )
