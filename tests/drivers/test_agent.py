"""The agent: every finished file is sent once, whatever happens on the way."""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq
from scan_bench import HandClock

from spm_live_drivers.agent import Agent, AgentSettings, AgentSetupError, main
from spm_live_drivers.agent import loop as agent_loop
from spm_live_drivers.agent import watch as agent_watch
from spm_live_drivers.agent.settings import SocketKind, load_keys
from spm_live_drivers.contract import (
    ChannelInfo,
    FileState,
    FileStatus,
    Frame,
    FrameInfo,
    FrameRef,
    ReadOptions,
    ScanGeometry,
    Trace,
)
from spm_live_drivers.errors import FrameError, NotReadyError
from spm_live_drivers.registry import file_sha256
from spm_live_drivers.wire import FrameMessage, decode
from spm_live_drivers.wire_receipt import Receipt, Result, encode_receipt

WAIT_S = 20


class TextReader:
    """Reads ``rows columns value`` and, at its end, ``done``; ``wait`` asks for patience, ``bad`` is never readable."""

    name = "text"
    title = "text scans"
    suffixes = (".scan",)

    def accepts(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"scan ")

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        return "chain" not in path.name

    def state(self, path: Path) -> FileState:
        content = path.read_text()
        if "bad" in content:
            raise FrameError(FrameRef(str(path)), "read", "the header makes no sense")
        if "wait" in content:
            return FileState(FileStatus.WAITING, "its chain is not there yet")
        return FileState(FileStatus.COMPLETE if content.endswith("done") else FileStatus.INCOMPLETE)

    def channels(self, path: Path) -> tuple[ChannelInfo, ...]:
        return (ChannelInfo("Z", "m"),)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        try:
            words = path.read_text().split()
        except OSError as error:
            raise FrameError(FrameRef(str(path)), "read", "cannot be opened") from error
        if "notready" in words:
            raise NotReadyError(FrameRef(str(path)), "read", "not yet")
        rows = 4 if words[-1] == "done" else 2
        data = np.full((4, 4), float(words[1]), dtype=np.float32)
        data[rows:] = np.nan
        info = FrameInfo(
            FrameRef(str(path), file_sha256(path), options.channel or "Z", Trace.FORWARD),
            ScanGeometry(4, 4, (8.0, 8.0)),
            "" if "unitless" in words else "m",
            complete_rows=rows,
        )
        return Frame(info, data)


class Receiver:
    """The other end, played by hand: takes a message, answers what it is told to."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], kind: int = zmq.ROUTER) -> None:
        self._context, self._kind = context, kind
        self.endpoint = "tcp://127.0.0.1:*"
        self.open()

    def open(self) -> None:
        self.socket = self._context.socket(self._kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
        if self._kind == zmq.SUB:
            self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.bind(self.endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        self.socket.unbind(self.endpoint)
        self.socket.close(linger=0)

    def take(self, agent: Agent) -> FrameMessage:
        """Let the agent work until a message is here."""
        work(agent, lambda: bool(self.socket.poll(0)))
        parts = self.socket.recv_multipart()
        self.sender = parts[0]
        return decode(parts[-3:])

    def answer(self, message: FrameMessage, result: Result = Result.KEPT, reason: str = "") -> None:
        receipt = Receipt(message.envelope.session, message.envelope.sequence, result, reason)
        self.socket.send_multipart([self.sender, *encode_receipt(receipt)])

    def silent(self, agent: Agent, steps: int = 10) -> bool:
        """Whether nothing comes while the agent has nothing more to do."""
        for _ in range(steps):
            agent.step(0.01)
        return not self.socket.poll(0)


def work(agent: Agent, condition: Callable[[], bool]) -> None:
    for _ in range(WAIT_S * 100):
        agent.step(0.01)
        if condition():
            return
    raise AssertionError("worked in vain")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with zmq.Context() as context:
        result = Receiver(context)
        yield result
        result.socket.close(linger=0)


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> AgentSettings:
    def find(path: Path) -> TextReader:
        try:
            head = path.read_bytes()[:100]
        except OSError as error:
            raise FrameError(FrameRef(str(path)), "read", "cannot be opened") from error
        if not TextReader().accepts(path, head):
            raise FrameError(FrameRef(str(path)), "read", "no reader knows this file")
        return TextReader()

    monkeypatch.setattr(agent_watch, "find_reader", find)
    monkeypatch.setattr(agent_watch, "_suffixes", lambda: {".scan"})
    monkeypatch.setattr(agent_loop, "read_frame", lambda path, options: find(path).read(path, options))
    (tmp_path / "data").mkdir()
    return AgentSettings(
        watch=tmp_path / "data",
        to=receiver.endpoint,
        spool=tmp_path / "spool",
        sender="stm",
        poll_s=1e-6,
        settle_s=0.0,
        quiet_s=60.0,
    )


@contextmanager
def agent_for(settings: AgentSettings, **options: object) -> Iterator[Agent]:
    with Agent(settings, retry_s=0.0, **options) as agent:  # type: ignore[arg-type]
        yield agent


def scan(settings: AgentSettings, name: str, text: str = "1 done") -> Path:
    path = settings.watch / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"scan {text}")
    return path


def test_a_finished_file_is_sent_with_its_name_digest_and_pixels(settings: AgentSettings, receiver: Receiver) -> None:
    path = scan(settings, "sub/a.scan", "7 done")
    with agent_for(settings) as agent:
        message = receiver.take(agent)
        assert message.envelope.sender == "stm"
        assert message.envelope.sequence == 0
        assert message.frame.ref.source == f"stm:{path}"
        assert message.frame.ref.name == "a.scan"
        assert message.frame.ref.sha256 == file_sha256(path)
        assert message.frame.data[0, 0] == 7
        receiver.answer(message)
        work(agent, lambda: agent.idle)
        assert agent.counters["sent"] == 1
    assert not list(settings.spool.glob("*.spmframe"))


def test_a_restart_sends_nothing_twice(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)
    scan(settings, "b.scan", "2 done")
    with agent_for(settings) as agent:
        message = receiver.take(agent)
        assert message.frame.ref.name == "b.scan"
        receiver.answer(message)
        work(agent, lambda: agent.idle)
        assert receiver.silent(agent)


def test_a_frame_that_was_spooled_but_not_acknowledged_is_sent_after_a_restart(
    settings: AgentSettings, receiver: Receiver
) -> None:
    path = scan(settings, "a.scan")
    with agent_for(settings) as agent:
        first = receiver.take(agent)
    path.unlink()
    with agent_for(settings) as agent:
        again = receiver.take(agent)
        assert again.envelope == first.envelope
        receiver.answer(again)
        work(agent, lambda: agent.idle)


def test_a_crash_between_spool_and_journal_sends_once(
    settings: AgentSettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(settings, "a.scan")

    class PowerCutError(Exception):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    with agent_for(settings) as agent, monkeypatch.context() as patch:
        patch.setattr(agent._journal, "take", cut)
        with pytest.raises(PowerCutError):
            work(agent, lambda: False)
    assert len(list(settings.spool.glob("*.spmframe"))) == 1
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)
        assert receiver.silent(agent)
        assert agent.counters["spooled"] == 0


def test_a_crash_between_receipt_and_journal_sends_again_and_the_receiver_says_duplicate(
    settings: AgentSettings, receiver: Receiver
) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent))
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent), Result.DUPLICATE)
        work(agent, lambda: agent.idle)
        assert agent.counters["duplicates"] == 1


def test_a_lost_spool_file_is_made_again_from_its_scan(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.take(agent)
    for left in settings.spool.glob("*.spmframe"):
        left.unlink()
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)


def test_a_damaged_spool_file_is_made_again_from_its_scan(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.take(agent)
    (left,) = settings.spool.glob("*.spmframe")
    left.write_bytes(left.read_bytes()[:-3] + b"\0\0\1")
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)
        assert agent.counters["damaged"] == 1
    assert len(list((settings.spool / "damaged").iterdir())) == 1


def test_frames_wait_while_the_receiver_is_away_and_come_in_order(settings: AgentSettings, receiver: Receiver) -> None:
    receiver.close()
    with agent_for(settings) as agent:
        for number in range(6):
            scan(settings, f"{number}.scan", f"{number} done")
            work(agent, lambda number=number: agent.counters["spooled"] == number + 1)
        receiver.open()
        for number in range(6):
            message = receiver.take(agent)
            assert message.envelope.sequence == number
            receiver.answer(message)
        work(agent, lambda: agent.idle)


def test_a_receipt_that_does_not_come_makes_the_frame_be_sent_again(
    settings: AgentSettings, receiver: Receiver
) -> None:
    clock = HandClock(100.0)
    scan(settings, "a.scan")
    with agent_for(settings, clock=clock) as agent:
        clock.now += 1
        first = receiver.take(agent)
        clock.now += 60
        again = receiver.take(agent)
        assert again.envelope == first.envelope
        receiver.answer(again)
        clock.now += 1
        work(agent, lambda: agent.counters["sent"] == 1)


def test_a_receipt_of_another_frame_is_not_taken_for_ours(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        message = receiver.take(agent)
        stale = replace(message.envelope, sequence=message.envelope.sequence + 1)
        receiver.answer(FrameMessage(stale, message.frame))
        receiver.socket.send_multipart([receiver.sender, b"spm.receipt", b"{"])
        receiver.socket.send_multipart([receiver.sender, b"noise"])
        for _ in range(10):
            agent.step(0.01)
        assert agent.counters["sent"] == 0
        receiver.answer(message)
        work(agent, lambda: agent.counters["sent"] == 1)


def test_a_frame_that_is_put_off_is_sent_again(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent), Result.LATER, "the disk is full")
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)


def test_a_refused_frame_is_kept_and_offered_at_the_next_start(
    settings: AgentSettings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    path = scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent), Result.REFUSED, "schema 1 is not known here")
        work(agent, lambda: agent.idle)
        path.unlink()
        assert agent.faults == 1
        assert "schema 1 is not known here" in caplog.text
        scan(settings, "b.scan", "2 done")
        message = receiver.take(agent)
        assert message.frame.ref.name == "b.scan"
        receiver.answer(message)
        work(agent, lambda: agent.idle)
    with agent_for(settings) as agent:
        assert receiver.take(agent).frame.ref.name == "a.scan"


def test_a_full_spool_leaves_files_in_the_folder_until_there_is_room(
    settings: AgentSettings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        scan(settings, f"{number}.scan", f"{number} done")
    with agent_for(replace(settings, spool_max_bytes=1)) as agent:
        messages = []
        for _ in range(3):
            message = receiver.take(agent)
            assert receiver.silent(agent)
            assert len(list(settings.spool.glob("*.spmframe"))) == 1
            messages.append(message.frame.ref.name)
            receiver.answer(message)
        work(agent, lambda: agent.idle)
    assert messages == ["0.scan", "1.scan", "2.scan"]
    assert "the spool is full" in caplog.text


def test_a_full_disk_leaves_files_in_the_folder_until_there_is_room(
    settings: AgentSettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scan(settings, "a.scan")

    def full(path: Path, parts: Sequence[bytes]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with agent_for(settings) as agent:
        with monkeypatch.context() as patch:
            patch.setattr("spm_live_drivers.agent.spool.write_durably", full)
            assert receiver.silent(agent)
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)
    assert caplog.text.count("No space left") == 1


def test_the_same_content_under_two_names_is_sent_once(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        receiver.answer(receiver.take(agent))
        work(agent, lambda: agent.idle)
        scan(settings, "copy of a.scan")
        assert receiver.silent(agent)
        assert agent.idle


def test_a_file_must_be_still_before_it_is_read(settings: AgentSettings, receiver: Receiver) -> None:
    clock = HandClock(100.0)
    path = scan(settings, "a.scan")
    with agent_for(replace(settings, settle_s=5.0), clock=clock) as agent:
        assert receiver.silent(agent)
        clock.now += 4
        path.write_text("scan 12 done")
        assert receiver.silent(agent)
        clock.now += 4
        assert receiver.silent(agent)
        clock.now += 2
        assert receiver.take(agent).frame.data[0, 0] == 12


def test_an_unfinished_file_is_sent_as_partial_after_the_quiet_time_and_again_once_it_is_whole(
    settings: AgentSettings, receiver: Receiver
) -> None:
    clock = HandClock(100.0)
    path = scan(settings, "a.scan", "1")
    with agent_for(settings, clock=clock) as agent:
        assert receiver.silent(agent)
        clock.now += 61
        message = receiver.take(agent)
        assert message.frame.info.partial
        assert np.isnan(message.frame.data[2:]).all()
        receiver.answer(message)
        clock.now += 1
        path.write_text("scan 1 now it is done")
        whole = receiver.take(agent)
        assert not whole.frame.info.partial
        assert whole.frame.ref.source == message.frame.ref.source


def test_a_waiting_file_is_never_read_and_given_up_with_its_reason(
    settings: AgentSettings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = HandClock(100.0)
    scan(settings, "a.scan", "1 wait")
    scan(settings, "b.scan", "1 notready done")
    with agent_for(settings, clock=clock) as agent:
        for _ in range(5):
            clock.now += 100
            assert receiver.silent(agent)
            assert not agent.idle
        clock.now += 200
        assert receiver.silent(agent)
        assert agent.idle
        assert agent.faults == 2
    assert caplog.text.count("waits: its chain is not there yet") == 1


def test_an_unreadable_file_is_logged_once_and_the_others_are_sent(
    settings: AgentSettings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    path = scan(settings, "a.scan", "bad")
    scan(settings, "unit.scan", "1 unitless done")
    scan(settings, "chain.scan", "bad")
    (settings.watch / "notes.txt").write_text("hello")
    (settings.watch / "link.scan").symlink_to(settings.watch / "nowhere")
    (settings.watch / "folder.scan").mkdir()
    scan(settings, "b.scan", "2 done")
    with agent_for(settings) as agent:
        message = receiver.take(agent)
        assert message.frame.ref.name == "b.scan"
        receiver.answer(message)
        work(agent, lambda: agent.idle)
        assert receiver.silent(agent)
        assert agent.faults == 2
    assert caplog.text.count(f"{path}: read: the header makes no sense") == 1
    assert "unit is missing" in caplog.text
    assert "notes.txt" not in caplog.text


def test_an_empty_or_unknown_scan_is_given_the_quiet_time(
    settings: AgentSettings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock(100.0)
    (settings.watch / "empty.scan").touch()
    (settings.watch / "half.scan").write_text("sc")
    with agent_for(settings, clock=clock) as agent:
        assert receiver.silent(agent)
        assert agent.faults == 0
        clock.now += 61
        assert receiver.silent(agent)
        assert agent.faults == 2
        (settings.watch / "half.scan").write_text("scan 3 done")
        clock.now += 1
        assert receiver.take(agent).frame.data[0, 0] == 3


def test_a_folder_that_goes_and_comes_back_is_waited_for(
    settings: AgentSettings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with agent_for(settings) as agent:
        settings.watch.rename(settings.watch.with_name("away"))
        assert receiver.silent(agent)
        assert not agent.idle
        assert caplog.text.count("cannot be listed") == 1
        settings.watch.with_name("away").rename(settings.watch)
        scan(settings, "a.scan")
        receiver.take(agent)


def test_only_one_agent_uses_a_spool(settings: AgentSettings) -> None:
    with agent_for(settings), pytest.raises(AgentSetupError, match="another agent"):
        Agent(settings)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"watch": Path("/no/such/folder")}, "no such folder"),
        ({"to": "192.168.0.5:5650"}, "not an endpoint"),
        ({"to": "tcp://192.168.0.5"}, "not an endpoint"),
        ({"sender": "a\nb"}, "--sender"),
        ({"options": ReadOptions(timezone="Mars/Base")}, "time zone"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(
    settings: AgentSettings, change: dict[str, object], problem: str
) -> None:
    with pytest.raises(AgentSetupError, match=problem):
        Agent(replace(settings, **change))  # type: ignore[arg-type]


def test_a_spool_inside_the_watched_folder_is_refused(settings: AgentSettings) -> None:
    with pytest.raises(AgentSetupError, match="inside the watched folder"):
        Agent(replace(settings, spool=settings.watch / "spool"))


def test_a_damaged_journal_is_told(settings: AgentSettings) -> None:
    settings.spool.mkdir()
    (settings.spool / "journal.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(AgentSetupError, match="rename it"):
        Agent(settings)


@pytest.mark.parametrize(("socket", "kind"), [(SocketKind.PUSH, zmq.PULL), (SocketKind.PUB, zmq.SUB)])
def test_other_programs_get_frames_without_receipts(settings: AgentSettings, socket: SocketKind, kind: int) -> None:
    with zmq.Context() as context:
        receiver = Receiver(context, kind)
        with agent_for(replace(settings, to=receiver.endpoint, socket=socket)) as agent:
            for number in range(WAIT_S * 100):  # a subscription takes a moment to reach the publisher
                scan(settings, f"{number}.scan", f"{number} done")
                work(agent, lambda number=number: agent.counters["spooled"] == number + 1)
                if receiver.socket.poll(10):
                    break
            assert decode(receiver.socket.recv_multipart()).envelope.sender == "stm"
            work(agent, lambda: agent.idle)
        receiver.close()


@pytest.mark.skipif(not zmq.has("curve"), reason="this ZeroMQ has no CURVE")
def test_keys_come_from_a_file(tmp_path: Path) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    file = tmp_path / "keys.toml"
    file.write_text(f'public_key = "{public}"\nsecret_key = "{secret}"\nserver_key = "{public}"\n')
    keys = load_keys(file)
    assert (keys.public_key, keys.secret_key, keys.server_key) == (public, secret, public)
    assert secret not in repr(keys)


@pytest.mark.parametrize("content", ["", "public_key = 3", "public_key = 'a'", "not toml", "a = 1\npublic_key='b'"])
def test_a_key_file_without_keys_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.toml").write_text(content)
    with pytest.raises(AgentSetupError):
        load_keys(tmp_path / "keys.toml")
    with pytest.raises(AgentSetupError, match="cannot be read"):
        load_keys(tmp_path / "gone.toml")


def test_run_ends_when_told_to(settings: AgentSettings) -> None:
    with agent_for(settings) as agent:
        thread = threading.Thread(target=agent.run)
        thread.start()
        agent.stop()
        thread.join(timeout=WAIT_S)
        assert not thread.is_alive()


def test_once_sends_what_is_there_and_ends(settings: AgentSettings, receiver: Receiver) -> None:
    for number in range(3):
        scan(settings, f"{number}.scan", f"{number} done")
    with agent_for(settings) as agent:
        thread = threading.Thread(target=agent.run, kwargs={"once": True})
        thread.start()
        for _ in range(3):
            parts = receiver.socket.recv_multipart()
            receiver.sender = parts[0]
            receiver.answer(decode(parts[1:]))
        thread.join(timeout=WAIT_S)
        assert not thread.is_alive()
        assert agent.counters["sent"] == 3


def test_the_command_line_says_in_one_sentence_why_it_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--watch", str(tmp_path / "gone"), "--to", "tcp://127.0.0.1:5650", "--spool", str(tmp_path / "spool")])
    assert code == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_metadata_of_the_header_is_json_that_any_language_reads(settings: AgentSettings, receiver: Receiver) -> None:
    scan(settings, "a.scan")
    with agent_for(settings) as agent:
        work(agent, lambda: bool(receiver.socket.poll(0)))
        header = json.loads(receiver.socket.recv_multipart()[2])
        assert header["schema"] == 1
        assert header["rows"] == 4
