"""What can go wrong with a controller.

::

    NanonisError
    ├── CommandRefusedError   the controller answered with an error; the connection goes on
    ├── ChannelError          the channel that is wanted is not there, or another one came
    ├── UnsettledError        the scan was changed while it was looked at: look again
    └── LinkError             the connection was dropped; the next question opens a new one
        ├── LinkClosedError   the controller cannot be reached, or closed the connection
        ├── ReplyTimeoutError no reply, or not all of it, in time
        └── ReplyError        a reply that is not one to the question
"""

from __future__ import annotations

from spm_live_drivers.errors import SpmLiveError


class NanonisError(SpmLiveError):
    """Base of everything that a controller can do wrong; its text is one that people see."""


class CommandRefusedError(NanonisError):
    """The controller answered with an error.

    Parameters
    ----------
    command : str
        What was asked.
    status : int
        As the controller gave it; not 0.
    text : str
        What the controller said; may be empty.
    """

    def __init__(self, command: str, status: int, text: str) -> None:
        super().__init__(f"{command} is refused: {text or f'error {status}, without a text'}")
        self.command = command
        self.status = status
        self.text = text


class ChannelError(NanonisError):
    """The channel that is wanted is not recorded, or the data are of another one."""


class UnsettledError(NanonisError):
    """Two answers within one look do not belong together: something was changed in between."""


class LinkError(NanonisError):
    """The connection cannot be trusted any more and was dropped."""


class LinkClosedError(LinkError):
    """The controller cannot be reached, or it closed the connection."""


class ReplyTimeoutError(LinkError):
    """No reply, or not all of it, came in time."""


class ReplyError(LinkError):
    """A reply that cannot be one to the question: another name, or a size or content that does not fit."""
