"""Tip changes: where the lines before and after are of different tips."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from spm_live.quality.height import HeightWatch
from spm_live.quality.lines import Line
from spm_live.quality.seam import SeamWatch
from spm_live.quality.streaks import Streaks
from spm_live.scanning import TipChange

SAME = 8
"""Signs of change so few lines apart are of one change."""
MOST = 64
"""The last so many changes are kept; a tip that changes more often is bad anyway."""
STREAK_DELAY = 8
"""So many lines later it is known what of a line lies in streaks."""


@dataclass(frozen=True, slots=True)
class FoundChange:
    """A tip change and what is known of it.

    Parameters
    ----------
    change : TipChange
        As it is told.
    height : float
        By how much everything jumped, in the unit of the lines; 0 where it did not.
    """

    change: TipChange
    height: float = 0.0


@dataclass(slots=True)
class _Watch:
    """What looks at lines of one length."""

    heights: HeightWatch = field(default_factory=HeightWatch)
    seams: SeamWatch = field(default_factory=SeamWatch)
    streaks: Streaks = field(default_factory=Streaks)
    numbers: list[int] = field(default_factory=list)


class TipChanges:
    """Puts together what the watches of height, of seams and of unsteady lines say."""

    def __init__(self) -> None:
        self.found: deque[FoundChange] = deque(maxlen=MOST)
        """In the order of scanning."""
        self._watch = _Watch()
        self._length = 0
        self._streak_pixels, self._seen = 0, 0

    @property
    def streaks(self) -> float:
        """Part of the pixels, there and back, that lie in streaks, 0 to 1."""
        streaks = self._watch.streaks
        seen = self._seen + streaks.seen
        return (self._streak_pixels + streaks.marked) / seen if seen else 0.0

    def add(self, line: Line) -> None:
        """Look at one more line."""
        track = line.track
        if track.size != self._length:
            # The way back has begun or ended to come: nothing before can be compared to what comes.
            self._streak_pixels += self._watch.streaks.marked
            self._seen += self._watch.streaks.seen
            self._watch, self._length = _Watch(), track.size
        watch = self._watch
        watch.numbers.append(line.number)
        watch.streaks.add(track)
        marks = watch.streaks.marks
        jump = watch.heights.add(track)
        seam = watch.seams.add(track, marks[-1 - STREAK_DELAY] if len(marks) > STREAK_DELAY else None)
        if jump is not None and jump.score >= 1:
            self._note(TipChange(watch.numbers[jump.place], "height", jump.score), jump.height)
        if watch.seams.unsteady.ended is not None:
            self._note(TipChange(watch.numbers[watch.seams.unsteady.ended], "resolution", 1.0))
        if seam is not None:
            self._note(TipChange(watch.numbers[seam.place], "resolution", seam.score))

    def _note(self, change: TipChange, height: float = 0.0) -> None:
        for index in range(len(self.found) - 1, -1, -1):
            known = self.found[index]
            if abs(known.change.line - change.line) <= SAME:
                self.found[index] = _together(known, FoundChange(change, height))
                return
        self.found.append(FoundChange(change, height))
        if len(self.found) > 1 and self.found[-2].change.line > change.line:
            ordered = sorted(self.found, key=lambda one: one.change.line)
            self.found.clear()
            self.found.extend(ordered)


def _together(known: FoundChange, new: FoundChange) -> FoundChange:
    """One change of two signs: of one kind the stronger counts, of two kinds the height says where."""
    kinds = {known.change.kind, new.change.kind}
    if len(kinds) == 1:
        return new if new.change.strength > known.change.strength else known
    strength = max(known.change.strength, new.change.strength)
    if new.height == 0:
        return replace(known, change=TipChange(known.change.line, "height and resolution", strength))
    if known.height == 0:
        return replace(new, change=TipChange(new.change.line, "height and resolution", strength))
    stronger = new if abs(new.height) > abs(known.height) else known
    return replace(stronger, change=TipChange(stronger.change.line, "height and resolution", strength))
