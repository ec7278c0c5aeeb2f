"""Rules: what each tells, and that it tells it once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.errors import SetupError
from spm_live.rules.book import REMEMBERED, RuleBook
from spm_live.rules.standing import one_line
from spm_live.scanning import LiveScan, LiveState, ScanQuality, TipChange, Verdict
from spm_live.settings import settings_from
from spm_live.settings_live import RuleSettings

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MakeScan = Callable[..., LiveScan]
MakeMessage = Callable[..., dict[str, Any]]


def rule(when: str, **more: Any) -> RuleSettings:
    return RuleSettings(name=more.pop("name", when), when=when, **more)


def book(*rules: RuleSettings, before: RuleBook | None = None) -> RuleBook:
    return RuleBook(rules, lambda: NOON, before)


def texts(notices: list[Any]) -> list[str]:
    return [notice.text for notice in notices]


class TestCountAndCoverage:
    def test_a_count_must_hold_in_two_successive_maps(self, make_scan: MakeScan) -> None:
        rules = book(rule("count", above=10))
        assert rules.scanning(make_scan(50, {"rod": 9})) == []
        assert rules.scanning(make_scan(60, {"rod": 10})) == []
        assert rules.scanning(make_scan(70, {"rod": 9})) == []
        assert rules.scanning(make_scan(80, {"rod": 11})) == []
        (notice,) = rules.scanning(make_scan(90, {"rod": 12}))
        assert (
            notice.text
            == "12 molecules found (asked for: 10) after 90 of 256 lines (562.5 nm²); scan 17 of nanonis lab."
        )
        assert (notice.rule, notice.key, notice.lines, notice.when) == ("count", "k1", 90, NOON)
        assert rules.scanning(make_scan(100, {"rod": 20})) == []

    def test_the_same_map_told_again_is_not_a_second_one(self, make_scan: MakeScan) -> None:
        rules = book(rule("count", above=10))
        for lines in (60, 70, 80):
            assert rules.scanning(make_scan(lines, {"rod": 10}, worked=60)) == []
        assert len(rules.scanning(make_scan(90, {"rod": 10}, worked=80))) == 1

    def test_settled_molecules_are_told_at_once(self, make_scan: MakeScan) -> None:
        rules = book(rule("count", above=10, label="rod"))
        assert rules.scanning(make_scan(60, {"rod": 12, "lobe": 50}, settled={"rod": 9, "lobe": 50})) == []
        told = book(rule("count", above=10, label="rod")).scanning(make_scan(60, {"rod": 12}, settled={"rod": 10}))
        assert "12 rod molecules found" in told[0].text

    def test_molecules_cut_by_the_front_are_not_counted(self, make_scan: MakeScan) -> None:
        rules = book(rule("count", above=3))
        for lines in (60, 70, 80):
            assert rules.scanning(make_scan(lines, {"rod": 2}, cut={"rod": 5})) == []

    def test_one_class_is_counted_where_it_is_named(self, make_scan: MakeScan) -> None:
        rules = book(rule("count", above=5, label="rod"), rule("count", name="all", above=5))
        rules.scanning(make_scan(60, {"rod": 4, "lobe": 4}))
        assert [notice.rule for notice in rules.scanning(make_scan(70, {"rod": 4, "lobe": 4}))] == ["all"]

    def test_coverage_is_told_in_percent(self, make_scan: MakeScan) -> None:
        rules = book(rule("coverage", above=0.3))
        assert rules.scanning(make_scan(60, {"rod": 1}, coverage=float("nan"))) == []
        assert rules.scanning(make_scan(70, {"rod": 1}, coverage=0.3)) == []
        assert (
            "Coverage has reached 31.2 % (asked for: 30 %) after 80"
            in texts(rules.scanning(make_scan(80, {"rod": 1}, coverage=0.312)))[0]
        )

    def test_coverage_of_a_map_that_is_settled_is_told_at_once(self, make_scan: MakeScan) -> None:
        assert book(rule("coverage", above=0.3)).scanning(make_scan(60, {"rod": 1}, coverage=0.4, settled_rows=60))

    def test_nothing_is_told_before_so_many_lines(self, make_scan: MakeScan) -> None:
        rules = book(rule("coverage", above=0.3, lines=100))
        assert rules.scanning(make_scan(90, {"rod": 1}, coverage=0.9)) == []
        assert rules.scanning(make_scan(110, {"rod": 1}, worked=99, coverage=0.9)) == []
        assert rules.scanning(make_scan(120, {"rod": 1}, coverage=0.9)) == [], "the maps before line 100 do not count"
        assert len(rules.scanning(make_scan(130, {"rod": 1}, coverage=0.9))) == 1

    def test_a_class_that_the_model_does_not_know_is_said_once(
        self, make_scan: MakeScan, caplog: pytest.LogCaptureFixture
    ) -> None:
        rules = book(rule("count", above=1, label="rods"))
        for lines in (10, 20, 30):
            assert rules.scanning(make_scan(lines, {"rod": 5})) == []
        assert [record.message for record in caplog.records] == [
            "rule count: the model knows no class 'rods', only rod"
        ]


class TestQualityAndTip:
    def test_bad_quality_is_told_once_with_its_reasons(self, make_scan: MakeScan) -> None:
        rules = book(rule("quality", lines=30))
        bad = ScanQuality(40, Verdict.BAD, ("lines do not resemble each other.", "12 % of the pixels are streaks"))
        assert rules.scanning(make_scan(20, quality=bad)) == []
        assert rules.scanning(make_scan(40, quality=ScanQuality(40, Verdict.DOUBTFUL, ("hm",)))) == []
        assert texts(rules.scanning(make_scan(40, quality=bad))) == [
            "Scan quality is bad after 40 of 256 lines: "
            "lines do not resemble each other; 12 % of the pixels are streaks; scan 17 of nanonis lab."
        ]
        assert rules.scanning(make_scan(50, quality=bad)) == []

    def test_every_tip_change_is_told_once_though_its_line_moves_a_little(self, make_scan: MakeScan) -> None:
        rules = book(rule("tip_change"))

        def told(*lines: int) -> list[str]:
            changes = tuple(TipChange(line, "height", 2.345) for line in lines)
            return texts(rules.scanning(make_scan(200, quality=ScanQuality(200, tip_changes=changes))))

        assert told() == []
        assert told(131) == [
            "The tip changed after 131 of 256 lines "
            "(height, 2.3 times the threshold of detection); scan 17 of nanonis lab."
        ]
        assert told(133) == []
        assert len(told(133, 180)) == 1
        assert told(131, 180) == []

    def test_a_new_scan_is_told_anew(self, make_scan: MakeScan) -> None:
        rules = book(rule("quality"))
        bad = ScanQuality(40, Verdict.BAD)
        assert [len(rules.scanning(make_scan(40, quality=bad, key=key))) for key in ("a", "b", "a", "b")] == [
            1,
            1,
            0,
            0,
        ]


class TestNothingFound:
    def test_it_is_told_after_so_many_lines(self, make_scan: MakeScan) -> None:
        rules = book(rule("nothing_found", lines=100))
        assert rules.scanning(make_scan(120, {"rod": 0}, worked=99)) == []
        assert texts(rules.scanning(make_scan(130, {"rod": 0}))) == [
            "No molecule after 130 of 256 lines (812.5 nm²); scan 17 of nanonis lab."
        ]
        assert rules.scanning(make_scan(140, {"rod": 0})) == []

    @pytest.mark.parametrize("seen", [{"counts": {"rod": 1}}, {"counts": {"rod": 0}, "cut": {"rod": 1}}])
    def test_it_is_not_told_where_one_is_in_sight(self, make_scan: MakeScan, seen: dict[str, Any]) -> None:
        assert book(rule("nothing_found", lines=100)).scanning(make_scan(130, **seen)) == []

    def test_bad_quality_is_said_with_it(self, make_scan: MakeScan) -> None:
        bad = ScanQuality(130, Verdict.BAD, ("forward and backward differ",))
        (text,) = texts(book(rule("nothing_found", lines=100)).scanning(make_scan(130, {"rod": 0}, quality=bad)))
        assert text.endswith("(812.5 nm²); scan quality is bad: forward and backward differ; scan 17 of nanonis lab.")


class TestFinished:
    def test_the_counts_are_told(self, make_message: MakeMessage) -> None:
        (notice,) = book(rule("finished")).finished(make_message(7, {"rod": 3, "lobe": 0, "disc": 4}, coverage=0.123))
        assert notice.text == "Finished with 7 molecules (disc 4, rod 3) on 1600 nm², coverage 12.3 %; sim_0001.sxm."
        assert (notice.frame_id, notice.name, notice.lines, notice.key) == (7, "sim_0001.sxm", 256, "")

    def test_what_was_told_while_scanning_is_not_told_again(
        self, make_scan: MakeScan, make_message: MakeMessage
    ) -> None:
        rules = book(rule("count", above=2), rule("finished"))
        rules.scanning(make_scan(60, {"rod": 5}))
        assert len(rules.scanning(make_scan(70, {"rod": 5}))) == 1
        done = make_scan(256, {"rod": 5}, state=LiveState.REPLACED, saved_as="C:/x/sim_0001.sxm", frame_id=7)
        (notice,) = rules.finished(make_message(7, {"rod": 6}), done)
        assert (notice.rule, notice.key, notice.scan, notice.source) == ("finished", "k1", "17", "nanonis lab")
        assert rules.scanning(done) == []
        assert rules.finished(make_message(7, {"rod": 6})) == [], "told again, with a late spectrum"

    def test_a_scan_that_waits_for_its_file_is_found_by_the_name(
        self, make_scan: MakeScan, make_message: MakeMessage
    ) -> None:
        rules = book(rule("count", above=2))
        rules.scanning(make_scan(60, {"rod": 5}))
        rules.scanning(make_scan(70, {"rod": 5}))
        rules.scanning(make_scan(256, {"rod": 5}, state=LiveState.WAITING, saved_as="C:\\Nanonis\\SIM_0001.sxm"))
        assert rules.finished(make_message(7, {"rod": 6}, source="/mnt/lab/sim_0001.sxm")) == []
        other = make_message(8, {"rod": 6}, source="/mnt/lab/next-day/sim_0001.sxm")
        assert len(rules.finished(other)) == 1, "another frame of the same name"

    def test_counts_of_a_frame_that_was_not_seen_growing_are_told(self, make_message: MakeMessage) -> None:
        rules = book(
            rule("count", above=2),
            rule("coverage", above=0.5),
            rule("nothing_found", lines=100),
            rule("quality"),
            rule("tip_change"),
        )
        assert [notice.rule for notice in rules.finished(make_message(1, {"rod": 2}, coverage=0.5))] == [
            "count",
            "coverage",
        ]
        assert [notice.rule for notice in rules.finished(make_message(2, {"rod": 0}, lines=120))] == ["nothing_found"]
        assert rules.finished(make_message(3, {"rod": 0}, lines=99)) == []

    def test_a_partial_frame_is_told_again_when_it_is_whole(self, make_message: MakeMessage) -> None:
        rules = book(rule("finished"), rule("count", above=1))
        first = rules.finished(make_message(1, {"rod": 2}, lines=100))
        assert "partial: 100 of 256 lines" in first[0].text
        assert [notice.rule for notice in first] == ["finished", "count"]
        again = rules.finished(make_message(2, {"rod": 4}, supersedes=(1,)))
        assert [notice.rule for notice in again] == ["finished"]
        assert rules.finished(make_message(3, {"rod": 4}, supersedes=(1, 2))) == []

    def test_short_frames_are_passed_over_where_lines_are_asked_for(self, make_message: MakeMessage) -> None:
        assert book(rule("finished", lines=200)).finished(make_message(1, {"rod": 2}, lines=100)) == []

    def test_a_scan_without_a_file_is_told_when_it_ends(self, make_scan: MakeScan) -> None:
        rules = book(rule("finished"))
        assert rules.scanning(make_scan(100, {"rod": 3}, state=LiveState.WAITING)) == []
        assert texts(rules.scanning(make_scan(100, {"rod": 3}, state=LiveState.ENDED))) == [
            "Ended after 100 of 256 lines and no file came of it; "
            "3 molecules on 625 nm², coverage 0 %; scan 17 of nanonis lab."
        ]
        assert rules.scanning(make_scan(100, {"rod": 3}, state=LiveState.ENDED)) == []

    def test_a_frame_where_nothing_was_scanned_is_told(self, make_message: MakeMessage) -> None:
        (text,) = texts(book(rule("finished")).finished(make_message(1, {"rod": 0}, lines=0)))
        assert text == "Finished with 0 molecules on 0 nm², partial: 0 of 256 lines; sim_0001.sxm."


class TestMemory:
    def test_it_is_bounded(self, make_scan: MakeScan, make_message: MakeMessage) -> None:
        rules = book(rule("count", above=1))
        for number in range(4 * REMEMBERED):
            rules.scanning(make_scan(50, {"rod": 1}, key=f"k{number}"))
            rules.finished(make_message(number, {"rod": 1}))
        assert len(rules._memory) <= 3 * REMEMBERED

    def test_a_scan_in_progress_is_not_forgotten_for_others(
        self, make_scan: MakeScan, make_message: MakeMessage
    ) -> None:
        rules = book(rule("quality"))
        bad = ScanQuality(40, Verdict.BAD)
        assert len(rules.scanning(make_scan(40, quality=bad))) == 1
        for number in range(4 * REMEMBERED):
            rules.finished(make_message(number, {"rod": 1}))
            assert rules.scanning(make_scan(41, quality=bad)) == []

    def test_a_reload_repeats_nothing_but_rules_that_changed(self, make_scan: MakeScan) -> None:
        bad = ScanQuality(40, Verdict.BAD, tip_changes=(TipChange(20, "height", 2),))
        before = book(rule("quality"), rule("tip_change"), rule("count", above=2))
        scan = make_scan(40, {"rod": 9}, settled={"rod": 9}, quality=bad)
        assert len(before.scanning(scan)) == 3
        after = book(rule("quality"), rule("tip_change"), rule("count", above=3), before=before)
        assert [notice.rule for notice in after.scanning(scan)] == ["count"]

    def test_without_rules_nothing_is_remembered(self, make_scan: MakeScan, make_message: MakeMessage) -> None:
        rules = book()
        assert rules.scanning(make_scan(40, {"rod": 9})) == []
        assert rules.finished(make_message(1, {"rod": 1})) == []
        assert not rules._memory


@given(st.text(max_size=2000))
def test_a_name_from_elsewhere_fits_into_one_sentence(name: str) -> None:
    shown = one_line(name)
    assert shown.isprintable()
    assert len(shown) <= 200


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"when": "count"}, "needs `above`"),
        ({"when": "quality", "webhook": "file:///etc/passwd"}, "a webhook is an address"),
        ({"when": "quality", "webhook": "http://host/a b"}, "no spaces"),
        ({"when": "quality", "webhook": "http://host:99999/"}, "[Pp]ort"),
        ({"when": "quality", "webhook": "https://me:secret@host/"}, "no name and password"),
        ({"when": "quality", "webhook": "http://host/\nX-Injected: 1"}, "a webhook is an address"),
        ({"when": "quality", "command": ["./notify.sh"]}, "full path"),
        ({"when": "quality", "command": ["..\\notify.bat"]}, "full path"),
        ({"when": "quality", "command": [""]}, "full path"),
        ({"when": "quality", "command": ["notify", "a\0b"]}, "no program can be given"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(tmp_path: Any, values: dict[str, Any], why: str) -> None:
    with pytest.raises(SetupError, match=why) as caught:
        settings_from({"folders": [{"path": str(tmp_path)}], "rules": [{"name": "r", **values}]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("program", ["notify", "/opt/lab/notify", "C:\\lab\\notify.exe", "C:/lab/notify.exe"])
def test_a_program_is_named_so_that_it_is_found_from_anywhere(program: str) -> None:
    assert rule("quality", command=[program, "--to", "x/y"]).command[0] == program


def test_two_rules_of_one_name_are_refused(tmp_path: Any) -> None:
    rules = [{"name": "r", "when": "quality"}, {"name": "r", "when": "tip_change"}]
    with pytest.raises(SetupError, match="two rules are called 'r'"):
        settings_from({"folders": [{"path": str(tmp_path)}], "rules": rules})


def test_the_address_of_a_webhook_does_not_show_in_the_representation() -> None:
    assert "T0KEN" not in repr(rule("quality", webhook="https://hooks.example/T0KEN"))
