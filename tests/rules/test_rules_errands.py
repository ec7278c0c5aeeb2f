"""Errands: notices reach real web servers and real commands, and nothing that these do stops anything."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import psutil
import pytest

from spm_live.domain import Fault
from spm_live.rules import errands as errands_module
from spm_live.rules.errands import WAITING, Errands
from spm_live.rules.program import OUTPUT_BYTES, ErrandError, run_program, run_to_end
from spm_live.rules.webhook import post_json
from spm_live.scanning import Notice
from spm_live.settings_live import RuleSettings
from spm_live.sources import StoppedError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONG_S = 30.0
"""A wait that a test must not need; it ends a test that hangs."""
NASTY = 'a"; touch INJECTED #$(touch INJECTED)`touch INJECTED` | & %PATH%\r\nX-Injected: 1 {"rule": 2} \udcff é'


def notice(rule: str = "r", scan: str = "17", text: str = "t") -> Notice:
    return Notice(rule, text, NOON, "nanonis lab", scan, lines=12)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


class Answers(BaseHTTPRequestHandler):
    """Answers as the path asks: /200, /500, /302, /hang, /drip, /reset."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.put((self.path, dict(self.headers), body))
        way = self.server.ways.pop(0) if self.server.ways else self.path.strip("/")
        if way == "hang":
            self.server.released.wait(LONG_S)
        elif way == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not self.server.released.wait(0.05):
                try:
                    self.wfile.write(b"a")
                except OSError:
                    return
        elif way == "garbage":
            self.wfile.write(b"\x00\xff" * 100)
        elif way != "reset":
            self.send_response(int(way))
            if way.startswith("3"):
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/200")
            self.end_headers()
            self.wfile.write(b"x" * 1000)

    def log_message(self, *_: Any) -> None: ...


class Server(ThreadingHTTPServer):
    """A web server on this machine that remembers what was posted."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.seen: Queue[tuple[str, dict[str, str], bytes]] = Queue()
        self.ways: list[str] = []
        self.released = threading.Event()

    def url(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@contextmanager
def running(*rules: RuleSettings, **more: Any) -> Iterator[tuple[Errands, Queue[Fault]]]:
    faults: Queue[Fault] = Queue()
    errands = Errands(rules, faults.put, **more)
    errands.start()
    try:
        yield errands, faults
    finally:
        errands.stop()


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands_module, "RETRY_S", (0.0, 0.0))


class TestPost:
    def test_a_notice_arrives_as_the_message_that_zeromq_tells(self, server: Server) -> None:
        with running(RuleSettings(name="r", when="quality", webhook=server.url("200"))) as (errands, faults):
            errands.send(notice(scan=NASTY, text=NASTY))
            path, headers, body = server.seen.get(timeout=LONG_S)
        told = json.loads(body)
        assert (path, headers["Content-Type"], "X-Injected" in headers) == ("/200", "application/json", False)
        assert (told["type"], told["rule"], told["lines"], told["schema"]) == ("notice", "r", 12, 1)
        assert told["text"] == NASTY.replace("\udcff", "\\udcff")
        assert told["when"] == "2026-11-22T12:00:00.000000Z"
        assert errands.counters() == {"done": 1, "failed": 0, "dropped": 0, "waiting": 0}
        assert faults.empty()

    def test_a_server_in_trouble_is_tried_again(self, server: Server) -> None:
        server.ways = ["500", "reset"]
        with running(RuleSettings(name="r", when="quality", webhook=server.url("200"))) as (errands, faults):
            errands.send(notice())
            bodies = [server.seen.get(timeout=LONG_S)[2] for _ in range(3)]
        assert len(set(bodies)) == 1
        assert errands.counters()["done"] == 1
        assert faults.empty()

    def test_three_tries_in_vain_are_a_fault_without_the_secret_part_of_the_address(self, server: Server) -> None:
        with running(RuleSettings(name="r", when="quality", webhook=server.url("503"))) as (errands, faults):
            errands.send(notice())
            fault = faults.get(timeout=LONG_S)
        assert (fault.source, fault.stage) == ("rule r", "notify")
        assert fault.reason == "webhook at 127.0.0.1: answered 503; tried 3 times"
        assert server.seen.qsize() == 3

    @pytest.mark.parametrize(
        ("way", "why", "again"),
        [
            ("404", "answered 404", False),
            ("429", "answered 429", True),
            ("302", "answered 302, a redirect to 127.0.0.1: none is followed", False),
            ("307", "answered 307, a redirect to 127.0.0.1: none is followed", False),
            ("garbage", "webhook at 127.0.0.1: ", True),
            ("reset", "webhook at 127.0.0.1: ", True),
        ],
    )
    def test_an_answer_that_is_no_yes_says_why(self, server: Server, way: str, why: str, again: bool) -> None:
        with pytest.raises(ErrandError, match=why) as caught:
            post_json(server.url(way), b"{}", 20)
        assert caught.value.again is again
        assert server.seen.qsize() == 1, "no redirect was followed"

    def test_a_closed_port_says_so(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(ErrandError, match=r"webhook at 127\.0\.0\.1: .*refused") as caught:
            post_json(f"http://127.0.0.1:{port}/T0KEN", b"{}", 20)
        assert caught.value.again
        assert "T0KEN" not in str(caught.value)

    def test_a_server_that_hangs_is_given_up_by_the_time_out(self, server: Server) -> None:
        with pytest.raises(ErrandError, match="timed out") as caught:
            post_json(server.url("hang"), b"{}", 0.2)
        assert caught.value.again

    @pytest.mark.parametrize("way", ["hang", "drip"])
    def test_whatever_a_server_does_it_ends_when_it_is_told_to(self, server: Server, way: str) -> None:
        def asked() -> bool:
            return not server.seen.empty()

        with pytest.raises(ErrandError, match="was still at it when the daemon stopped"):
            post_json(server.url(way), b"{}", LONG_S, asked)

    def test_a_host_that_is_no_name_is_a_reason_too(self) -> None:
        with pytest.raises(ErrandError, match=r"webhook at .*: "):
            post_json(f"http://{'a' * 70}.invalid/", b"{}", 20)


class TestProgram:
    def test_it_gets_the_notice_on_its_standard_input_and_nothing_else(self, tmp_path: Path) -> None:
        out = tmp_path / "out.json"
        code = (
            "import json, os, pathlib, sys; "
            f"pathlib.Path({str(out)!r}).write_text(json.dumps([json.load(sys.stdin), sys.argv[1:], "
            "dict(os.environ), os.getcwd()]))"
        )
        rule = RuleSettings(name="r", when="quality", command=(*python(code), "$HOME", "a b;c"))
        os.environ["SPM_LIVE_WEB__TOKEN"] = "secret-secret-secret"
        try:
            with running(rule) as (errands, faults):
                errands.send(notice(scan=NASTY, text=NASTY))
        finally:
            del os.environ["SPM_LIVE_WEB__TOKEN"]
        told, arguments, environment, place = json.loads(out.read_text())
        assert faults.empty(), faults.get()
        assert told["scan"] == NASTY.replace("\udcff", "\\udcff")
        assert arguments == ["$HOME", "a b;c"], "no shell has seen them"
        assert not any("touch" in value for value in environment.values())
        assert "SPM_LIVE_WEB__TOKEN" not in environment
        assert Path(place) == Path.home().resolve()
        assert not (Path(place) / "INJECTED").exists()

    def test_a_code_that_is_not_zero_is_a_fault_with_what_it_said(self) -> None:
        rule = RuleSettings(name="r", when="quality", command=python("print('no\\nmail'); raise SystemExit(3)"))
        with running(rule) as (errands, faults):
            errands.send(notice())
            fault = faults.get(timeout=LONG_S)
        assert fault.reason == f"{Path(sys.executable).name} ended with code 3: no mail"
        assert errands.counters()["failed"] == 1

    def test_a_program_that_is_not_there_is_a_fault(self) -> None:
        with pytest.raises(ErrandError, match="no-such-program-here cannot be run"):
            run_program(("no-such-program-here",), b"", 5)

    def test_a_program_that_hangs_is_ended(self) -> None:
        with pytest.raises(ErrandError, match=r"took longer than 0.2 s and was ended"):
            run_program(python("import threading; threading.Event().wait()"), b"", 0.2)

    @pytest.mark.skipif(os.name == "nt", reason="there, what a program started is not ended with it")
    def test_what_it_started_is_ended_with_it(self, tmp_path: Path) -> None:
        mark, code = tmp_path / "child", "import threading; threading.Event().wait()"
        start = (
            "import pathlib, subprocess, sys; "
            f"child = subprocess.Popen([sys.executable, '-c', {code!r}]); "
            f"pathlib.Path({str(mark)!r}).write_text(str(child.pid)); child.wait()"
        )
        with pytest.raises(ErrandError, match="was still at it"):
            run_program(python(start), b"", LONG_S, lambda: mark.exists() and bool(mark.read_text()))
        wait_until(lambda: ended(int(mark.read_text())))

    def test_a_program_that_writes_without_end_is_ended(self) -> None:
        code = "import sys\nwhile True: sys.stdout.write('x' * 100); sys.stdout.flush()"
        with pytest.raises(ErrandError, match=f"wrote more than {OUTPUT_BYTES // 1024} KiB and was ended"):
            run_program(python(code), b"", LONG_S)

    def test_a_program_that_does_not_read_holds_nobody_up(self) -> None:
        assert run_to_end(python("pass"), b"x" * 1_000_000, LONG_S).code == 0

    def test_what_it_said_is_one_short_line(self) -> None:
        said = run_program(python("print('a' * 5000); print('\\x1b[31m\\xff the end')"), b"", LONG_S)
        assert said.endswith("the end")
        assert len(said) == 500
        assert said.isprintable()


class Stuck:
    """A post or a command that ends when it is let go, or when it is told to."""

    def __init__(self) -> None:
        self.begun: Queue[bytes] = Queue()
        self.go_on = threading.Semaphore(0)

    def __call__(self, _: object, body: bytes, timeout_s: float, cancelled: Callable[[], bool]) -> None:
        self.begun.put(body)
        while not self.go_on.acquire(timeout=0.01):
            if cancelled():
                raise ErrandError("told to end")


class TestThreads:
    def test_one_that_hangs_holds_up_no_other(self) -> None:
        stuck, done = Stuck(), Queue[bytes]()

        def run(_: object, body: bytes, *__: object) -> str:
            done.put(body)
            return ""

        rule = RuleSettings(name="r", when="quality", webhook="http://127.0.0.1:9/", command=("notify",))
        with running(rule, post=stuck, run=run) as (errands, _):
            errands.send(notice())
            stuck.begun.get(timeout=LONG_S)
            assert json.loads(done.get(timeout=LONG_S))["rule"] == "r"
            stuck.go_on.release()

    def test_only_the_rule_of_a_notice_acts(self) -> None:
        done: Queue[object] = Queue()
        rules = [RuleSettings(name=name, when="quality", command=(name,)) for name in ("a", "b")]
        rules.append(RuleSettings(name="c", when="quality"))
        with running(*rules, run=lambda command, *_: done.put(command[0])) as (errands, _):
            for name in ("b", "c", "unknown"):
                errands.send(notice(name))
            assert done.get(timeout=LONG_S) == "b"
        assert done.empty()

    def test_of_too_many_the_oldest_give_way_and_it_is_said(self) -> None:
        stuck = Stuck()
        rule = RuleSettings(name="r", when="quality", command=("notify",))
        with running(rule, run=stuck) as (errands, faults):
            errands.send(notice(scan="first"))
            stuck.begun.get(timeout=LONG_S)
            for number in range(WAITING + 3):
                errands.send(notice(scan=str(number)))
            assert errands.counters() == {"done": 0, "failed": 0, "dropped": 3, "waiting": WAITING}
            stuck.go_on.release(WAITING + 1)
            scans = [json.loads(stuck.begun.get(timeout=LONG_S))["scan"] for _ in range(WAITING)]
            fault = faults.get(timeout=LONG_S)
        assert scans == [str(number) for number in range(3, WAITING + 3)]
        assert fault.reason == "3 notice(s) were not told: they come faster than they can be told"

    def test_faults_are_reported_once_a_minute_and_counted(self) -> None:
        now, acted = [0.0], Queue[int]()

        def run(*_: object) -> str:
            acted.put(1)
            raise ErrandError("no")

        rule = RuleSettings(name="r", when="quality", command=("notify",))
        with running(rule, run=run, clock=lambda: now[0]) as (errands, faults):
            for number, second in enumerate((0.0, 10.0, 59.0, 61.0), 1):
                now[0] = second
                errands.send(notice())
                acted.get(timeout=LONG_S)
                wait_until(lambda number=number: errands.counters()["failed"] == number)
            assert faults.get(timeout=LONG_S).reason == "no"
            assert faults.get(timeout=LONG_S).reason == "no; 2 more since the last fault of this rule"
        assert faults.empty()

    def test_it_stops_in_the_midst_of_anything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(errands_module, "GRACE_S", 0.1)
        stuck = Stuck()
        rule = RuleSettings(name="r", when="quality", webhook="http://127.0.0.1:9/")
        with running(rule, post=stuck) as (errands, faults):
            for _ in range(3):
                errands.send(notice())
            stuck.begun.get(timeout=LONG_S)
            errands.stop()
            assert errands.counters() == {"done": 0, "failed": 1, "dropped": 0, "waiting": 2}
            errands.send(notice())
            assert errands.counters()["waiting"] == 2, "nothing is taken after the stop"
        assert faults.get_nowait().reason == "told to end"

    def test_a_stop_while_it_waits_for_another_try_does_not_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(errands_module, "RETRY_S", (LONG_S, LONG_S))
        tried: Queue[int] = Queue()

        def post(*_: object) -> None:
            tried.put(1)
            raise ErrandError("busy", again=True)

        rule = RuleSettings(name="r", when="quality", webhook="http://127.0.0.1:9/")
        with running(rule, post=post) as (errands, faults):
            errands.send(notice())
            tried.get(timeout=LONG_S)
        assert faults.get_nowait().reason == "busy"
        assert tried.empty()

    def test_what_waits_at_the_stop_is_told_where_there_is_time(self) -> None:
        done: Queue[object] = Queue()
        rule = RuleSettings(name="r", when="quality", command=("notify",))
        with running(rule, run=lambda *_: done.put(1)) as (errands, _):
            for _ in range(5):
                errands.send(notice())
        assert done.qsize() == 5

    def test_it_can_be_stopped_unstarted_and_twice(self) -> None:
        errands = Errands([RuleSettings(name="r", when="quality", command=("notify",))], lambda _: None)
        errands.stop()
        errands.stop()

    def test_a_store_that_is_closing_stops_nothing(self) -> None:
        def report(_: Fault) -> None:
            raise StoppedError

        def run(*_: object) -> str:
            raise ErrandError("no")

        errands = Errands([RuleSettings(name="r", when="quality", command=("notify",))], report, run=run)
        errands.start()
        errands.send(notice())
        errands.send(notice())
        errands.stop()
        assert errands.counters()["failed"] == 2


def ended(pid: int) -> bool:
    """Whether a process is gone; a zombie is, only nobody has asked for its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(LONG_S / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to hold")
