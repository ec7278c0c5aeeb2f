"""How the simulated controller has its scans saved: at once, slowly, or with a parameter chain that comes late."""

from __future__ import annotations

from collections.abc import Callable

from spm_live_drivers.simulate.instrument import SimulatedInstrument
from spm_live_drivers.simulate.lateness import LateActs
from spm_live_drivers.simulate.options import ControllerOptions
from spm_live_drivers.simulate.running import RunningScan
from spm_live_drivers.simulate.saving import SLOW_PIECES
from spm_live_drivers.simulate.spoiling import scanned_to


class Saver:
    """Saves scans; used by one thread at a time.

    Parameters
    ----------
    instrument : SimulatedInstrument
        Writes the files.
    options : ControllerOptions
        How slowly, and how late.
    clock : callable
        Time in s, never going back.
    pause : callable
        Waits for so many s between the pieces of a slowly written file.
    """

    def __init__(
        self,
        instrument: SimulatedInstrument,
        options: ControllerOptions,
        clock: Callable[[], float],
        pause: Callable[[float], object],
    ) -> None:
        self._instrument, self._options, self._pause = instrument, options, pause
        self.saved = 0
        """Scans that were saved."""
        self.late = LateActs(clock)
        """Entries of the parameter chain that have still to be made."""

    def save(self, run: RunningScan, lines: int, *, slowly: bool, late: bool) -> None:
        """Save a scan.

        Parameters
        ----------
        run : RunningScan
            What was scanned.
        lines : int
            How many lines of it.
        slowly : bool
            Its files grow for a while.
        late : bool
            It is entered in the parameter chain later; so is then every one after it, which cannot come before it.

        Raises
        ------
        OSError
            If a file cannot be written.
        """
        plan, options = self._instrument.plan, self._options
        subject, channels = run.subject, run.channels
        if lines < run.geometry.rows:
            subject = scanned_to(subject, lines)
            channels = self._instrument.channels(run.number, subject)
        piece_s = (max(plan.slow_write_s, options.slow_file_s) if slowly else plan.slow_write_s) / SLOW_PIECES
        after_s, told = (options.late_chain_s, f"frame {run.frame} is in its chain now") if late else (0.0, "")
        self._instrument.save(
            run.number,
            subject,
            channels,
            run.started,
            lambda: self._pause(piece_s),
            slowly=slowly,
            later=lambda act: self.late.owe(after_s, told, act),
        )
        self.late.do_due()
        self.saved += 1
