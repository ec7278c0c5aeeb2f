"""One look through a whole folder, in small steps."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from spm_live.sources.candidates import Candidates
from spm_live.sources.listing import FoundFile, Unreadable

ENTRIES_A_STEP = 500
"""A listing goes in steps of this many files, so that a finished file never waits for a long one."""


class Survey:
    """A listing under way, held against what is known of the folder.

    Parameters
    ----------
    entries : iterator of FoundFile or Unreadable
        The listing.
    candidates : Candidates
        What is known; told of what is new when the listing is through, in the order it was written.
    worth : callable
        Whether a path is worth a look.
    started : float
        When it began, on the monotonic clock, in s.
    first : bool
        Whether it is the first of its folder: what it finds is the backlog.
    left_alone : callable
        Whether a file is to be taken as dealt with, unread.
    """

    def __init__(
        self,
        entries: Iterator[FoundFile | Unreadable],
        candidates: Candidates,
        worth: Callable[[str], bool],
        *,
        started: float,
        first: bool,
        left_alone: Callable[[FoundFile], bool],
    ) -> None:
        self._entries, self._candidates, self._worth = entries, candidates, worth
        self._first, self._left_alone = first, left_alone
        self._fresh: list[FoundFile] = []
        self.started = started
        self.unreadable: list[Unreadable] = []
        candidates.begin_listing()

    def go_on(self) -> bool:
        """Take one step.

        Returns
        -------
        bool
            Whether there is more to list.

        Raises
        ------
        OSError
            If the folder itself cannot be listed.
        """
        found = list(itertools.islice(self._entries, ENTRIES_A_STEP))
        for entry in found:
            if isinstance(entry, Unreadable):
                self.unreadable.append(entry)
            elif self._worth(entry.path) and self._candidates.is_news(entry):
                if self._left_alone(entry):
                    self._candidates.pass_over(entry)
                else:
                    self._fresh.append(entry)
        return len(found) == ENTRIES_A_STEP

    def conclude(self) -> None:
        """Hand over what is new, and forget what is gone."""
        for entry in sorted(self._fresh, key=lambda found: (found.mtime_ns, found.path)):
            self._candidates.add(entry, backlog=self._first)
        for folder in {os.path.dirname(entry.path) for entry in self._fresh}:  # noqa: PTH120 - paths are kept as text
            self._candidates.stir(folder)
        self._candidates.end_listing(whole=not self.unreadable)

    def abandon(self) -> None:
        """End it half way, forgetting nothing."""
        close = getattr(self._entries, "close", None)
        if close is not None:  # a generator, which holds a folder open
            close()
        self._candidates.end_listing(whole=False)
