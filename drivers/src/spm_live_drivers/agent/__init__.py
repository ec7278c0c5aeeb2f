"""``spm-live-agent``: on the instrument PC, sends every finished frame, and the scan in progress, to spm-live.

A file becomes a message in the spool, a folder on this machine's disk, and is removed from there once the receiver has
it on its own disk. A journal beside the spool says which files were taken up, so that after a restart, of either end
and at any moment, nothing is missing and nothing is sent twice.

::

    folder --Watch--> finished file --read_frame--> Spool, Journal --Link--> receiver

While the tip scans, a stream asks the Nanonis controller and tells the receiver line by line, on a connection of its
own; nothing of that is spooled.

::

    controller --ScanWatch--> start, lines, end --Telling--> Link --> receiver
"""

from spm_live_drivers.agent.cli import main
from spm_live_drivers.agent.loop import Agent
from spm_live_drivers.agent.settings import AgentSettings, AgentSetupError, StreamSettings
from spm_live_drivers.agent.stream import ScanStream

__all__ = ["Agent", "AgentSettings", "AgentSetupError", "ScanStream", "StreamSettings", "main"]
