"""The page in a real browser, before a real store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from playwright.sync_api import expect
from viewer_page import Open

from spm_live.domain import DaemonState, Fault, ScanDirection, SourceStatus
from spm_live.publish.message import fault_message
from spm_live.web import events

EVIL = '<img src=x onerror="document.title=`stolen`">&amp;"\'.sxm'


def test_it_opens_on_the_newest_frame_with_outlines_where_the_molecules_are(scene, draw, look: Open) -> None:
    scene.add(draw(1))
    told = scene.add(draw(2))
    seen = look()
    seen.shows(told["id"])
    assert seen.page.url == f"{scene.url}/"  # the token has left the address
    expect(seen.page.locator("#stage-title")).to_have_text("scan_0002.sxm")
    outlined = [each for each in told["molecules"] if not each["touches_edge"]]
    assert outlined
    for molecule in outlined[:5]:
        assert max(seen.ink(molecule["outline_px"][0])[:3]) > 120, "no outline where the molecule is"
    shades = {pixel[0] for pixel in seen.below([[column, 64] for column in range(0, 192, 4)])}
    assert len(shades) > 10, "no picture below the outlines"


def test_the_counts_are_those_of_the_api(scene, draw, look: Open) -> None:
    told = scene.add(draw(1))
    page = look().page
    expect(page.locator("#total")).to_have_text(str(told["total"]))
    for label, count in told["counts"].items():
        row = page.locator(f'#counts [data-label="{label}"]')
        expect(row.locator("b")).to_have_text(str(count["total"]))
        expect(row.locator("p")).to_contain_text(
            f"{count['edge']} at the edge" if count["total"] else "none in this frame"
        )
    expect(page.locator("#facts")).to_contain_text("30 nm × 20 nm")
    expect(page.locator("#facts")).to_contain_text("−1.2 V")
    expect(page.locator("#facts")).to_contain_text("50 pA")
    expect(page.locator("#said")).to_contain_text(f"scan_0001.sxm: {told['total']} molecules")


def test_a_new_frame_appears_by_itself(scene, draw, look: Open) -> None:
    scene.add(draw(1))
    seen = look()
    told = scene.add(draw(2))
    seen.shows(told["id"])
    expect(seen.page.locator("#total")).to_have_text(str(told["total"]))
    expect(seen.page.locator(".row")).to_have_count(2)
    expect(seen.page.locator(".row").first).to_contain_text("scan_0002.sxm")


def test_an_empty_store_says_what_it_waits_for_and_then_shows_the_first_frame(scene, draw, look: Open) -> None:
    seen = look()
    expect(seen.page.locator("#empty")).to_contain_text("folder D:/data")
    told = scene.add(draw(1))
    seen.shows(told["id"])
    expect(seen.page.locator("#empty")).to_be_hidden()


def test_looking_back_is_not_disturbed_by_new_frames_and_live_returns(scene, draw, look: Open) -> None:
    first, second = scene.add(draw(1)), scene.add(draw(2))
    seen = look()
    seen.shows(second["id"])
    seen.page.click(f'.row[data-id="{first["id"]}"]')
    seen.shows(first["id"])
    third = scene.add(draw(3))
    expect(seen.page.locator("#live")).to_have_text("Back to live, 1 new")
    seen.shows(first["id"])
    seen.page.keyboard.press("l")
    seen.shows(third["id"])
    expect(seen.page.locator("#live")).to_have_text("Live")


def test_arrow_keys_go_through_the_frames(scene, draw, look: Open) -> None:
    told = [scene.add(draw(number)) for number in range(1, 4)]
    seen = look()
    seen.shows(told[2]["id"])
    for key, expected in (("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowRight", 1), ("ArrowRight", 2)):
        seen.page.keyboard.press(key)
        seen.shows(told[expected]["id"])
    expect(seen.page.locator("#live")).to_have_text("Live")


def test_outlines_can_be_switched_off_as_a_whole_and_by_class(scene, draw, look: Open) -> None:
    told = scene.add(draw(1))
    molecule = next(each for each in told["molecules"] if not each["touches_edge"])
    seen = look()
    seen.shows(told["id"])
    lit = seen.ink(molecule["outline_px"][0])
    seen.page.uncheck(f'#counts [data-label="{molecule["label"]}"] input')
    assert seen.ink(molecule["outline_px"][0]) != lit
    seen.page.check(f'#counts [data-label="{molecule["label"]}"] input')
    assert seen.ink(molecule["outline_px"][0]) == lit
    seen.page.keyboard.press("o")
    assert seen.ink(molecule["outline_px"][0]) == [0, 0, 0, 0]
    expect(seen.page.locator("#outlines")).to_have_attribute("aria-pressed", "false")


def test_a_class_has_one_colour_whatever_is_in_the_frame(scene, draw, look: Open) -> None:
    told = scene.add(draw(1))
    seen = look()
    seen.shows(told["id"])
    colours = seen.page.evaluate(
        "async (labels) => labels.map((await import('/static/colours.js')).classColour)",
        sorted(told["counts"]),
    )
    assert colours == ["#56b4e9", "#e69f00", "#cc79a7"]


def test_thumbnails_have_the_true_proportions_of_the_scan(scene, draw, look: Open) -> None:
    scene.add(draw(1))  # 30 nm x 20 nm
    box = look().page.locator(".thumb img").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(1.5, rel=0.03)


def test_heat_colours_are_colours_and_grey_is_grey(scene, draw, look: Open) -> None:
    told = scene.add(draw(1))
    seen = look()
    seen.shows(told["id"])
    points = [[column, row] for column in range(5, 190, 20) for row in range(5, 120, 20)]
    assert all(pixel[0] == pixel[1] == pixel[2] for pixel in seen.below(points))
    seen.page.keyboard.press("c")
    assert any(pixel[0] > pixel[2] + 40 for pixel in seen.below(points))


def test_hovering_a_molecule_tells_what_it_is(scene, draw, look: Open) -> None:
    told = scene.add(draw(1))
    seen = look()
    seen.shows(told["id"])
    seen.page.keyboard.press("]")
    molecule = told["molecules"][0]
    tip = seen.page.locator("#tip")
    expect(tip).to_contain_text(molecule["label"])
    expect(tip).to_contain_text(f"{molecule['center_nm'][0]:.2f}".replace("-", "−"))
    expect(tip).to_contain_text("score 0.93")
    seen.page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    x, y = seen.page.evaluate(
        """async ([x1, y1, x2, y2]) => {
          const { fit, toScreen } = await import("/static/geometry.js");
          const frame = await (await fetch(`/api/frames/${document.body.dataset.shown}`)).json();
          const box = document.getElementById("overlay").getBoundingClientRect();
          const at = toScreen(frame, fit(frame, box.width, box.height), [(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2]);
          return [box.left + at[0], box.top + at[1]];
        }""",
        molecule["box_px"],
    )
    seen.page.mouse.move(x, y)
    expect(tip).to_contain_text(molecule["label"])
    expect(seen.page.locator("#cursor")).to_contain_text("nm")


@pytest.mark.parametrize("direction", list(ScanDirection))
def test_what_was_not_scanned_is_hatched_and_named(scene, draw, look: Open, direction: ScanDirection) -> None:
    told = scene.add(draw(1, complete_rows=64, direction=direction))
    seen = look()
    seen.shows(told["id"])
    top, bottom = ([[column, row] for column in range(192)] for row in (8, 120))
    empty, scanned = (top, bottom) if direction is ScanDirection.UP else (bottom, top)
    # The hatching is the only thing on the canvas that is not grey, and has two colours but for its soft edges.
    assert all(red < blue for red, _, blue, _ in seen.below(empty))
    assert all(red == blue for red, _, blue, _ in seen.below(scanned))
    expect(seen.page.locator("#facts")).to_contain_text("64 rows scanned")
    expect(seen.page.locator(".row")).to_contain_text("partial")


def test_a_longer_version_of_a_scan_takes_the_place_of_the_shorter(scene, draw, look: Open) -> None:
    short = scene.add(draw(1, source="D:/data/growing.sxm", complete_rows=50))
    scene.add(draw(2))
    seen = look()
    seen.page.click(f'.row[data-id="{short["id"]}"]')
    seen.shows(short["id"])
    long = scene.add(draw(3, source="D:/data/growing.sxm"))
    assert long["supersedes"] == [short["id"]]
    expect(seen.page.locator(f'.row[data-id="{short["id"]}"]')).to_have_count(0)
    expect(seen.page.locator("#banners")).to_contain_text("A later, longer version")
    seen.page.click("#banners button")
    seen.shows(long["id"])


def test_faults_are_shown_with_file_stage_and_reason(scene, look: Open) -> None:
    stored = Fault("D:/data/cut.sxm", "read", "header says 256 x 256 px, file holds 1204", datetime.now(UTC))
    scene.store.save_fault(stored)
    page = look().page
    expect(page.locator("#faults li")).to_have_count(1)
    fault = Fault("D:/data/bug.sxm", "detect", "the worker ended", datetime.now(UTC), detail="Traceback (most recent")
    scene.feed.publish("fault", fault_message(scene.store.save_fault(fault), fault))
    expect(page.locator("#faults li")).to_have_count(2)
    newest = page.locator("#faults li").first
    for text in ("bug.sxm", "detect", "the worker ended"):
        expect(newest).to_contain_text(text)
    newest.locator("summary").click()
    expect(newest.locator("pre")).to_be_visible()
    expect(page.locator("#faults-total")).to_have_text("2")


def test_older_faults_are_loaded_on_demand(scene, look: Open) -> None:
    for number in range(45):
        scene.store.save_fault(Fault(f"D:/data/{number}.sxm", "read", "cut", datetime.now(UTC)))
    page = look().page
    for expected in (40, 45):
        page.click("#faults button")
        expect(page.locator("#faults li[data-id]")).to_have_count(expected)
    expect(page.locator("#faults button")).to_have_count(0)


def test_the_daemons_state_queue_and_sources_are_told_in_words(scene, look: Open) -> None:
    broken = SourceStatus("folder //nas/stm", False, "the folder is gone since 02:11", {"arrived": 7})
    scene.status = replace(
        scene.status, state=DaemonState.WAITING, detail="the disk is full", queued=5, sources=(broken,), lag_s=75.0
    )
    page = look().page
    expect(page.locator("#state")).to_have_text("Cannot store results")
    expect(page.locator("#banners")).to_contain_text("the disk is full")
    expect(page.locator("#vitals")).to_contain_text("5 of 64")
    expect(page.locator("#vitals")).to_contain_text("75 s")
    expect(page.locator("#sources")).to_contain_text("not available")
    expect(page.locator("#sources")).to_contain_text("arrived 7")
    expect(page.locator("#model")).to_have_text("Model drawn-truth 1.0")
    scene.status = replace(scene.status, state=DaemonState.RUNNING, detail="")
    expect(page.locator("#state")).to_have_text("Running")
    expect(page.locator("#banners")).to_be_empty()


def test_markup_in_names_and_comments_stays_text(scene, draw, look: Open) -> None:
    scene.status = replace(scene.status, sources=(SourceStatus(EVIL, False, EVIL, {EVIL: 1}),), in_hand=EVIL)
    scene.store.save_fault(Fault(f"D:/data/{EVIL}", EVIL, EVIL, datetime.now(UTC), detail=EVIL))
    told = scene.add(draw(1, name=EVIL, comment=EVIL, warnings=(EVIL,), setpoint_unit=EVIL))
    seen = look()
    seen.shows(told["id"])
    seen.page.keyboard.press("]")
    expect(seen.page.locator("#stage-title")).to_have_text(EVIL)
    expect(seen.page.locator("#facts")).to_contain_text(EVIL)
    expect(seen.page.locator("#faults")).to_contain_text(EVIL)
    assert seen.page.locator('img[src="x"]').count() == 0
    assert "stolen" not in seen.page.title().split(EVIL)[0]
    assert seen.paths("/x$") == []


def test_string_markup_and_inline_scripts_cannot_run_at_all(scene, look: Open) -> None:
    page = look(quiet=False).page  # the browser complains about what is tried here
    tried = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return 'ran' } catch (e) { return e.name } }"
    )
    assert tried == "TypeError"
    ran = page.evaluate(
        """() => new Promise((done) => {
          const script = document.createElement("script");
          try { script.textContent = "window.ran = true"; document.head.append(script); } catch { /* as it should */ }
          setTimeout(() => done(window.ran === true), 0);
        })"""
    )
    assert ran is False


def test_ten_thousand_frames_are_not_loaded_to_show_the_newest(scene, draw, look: Open, fill) -> None:
    fill(10_000)
    newest = scene.store.frames(1)[0]["id"]
    seen = look()
    seen.shows(newest)
    expect(seen.page.locator("#history-total")).to_have_text("10,000")
    assert seen.page.locator(".row").count() == 60
    assert len(seen.paths(r"/preview\.png")) == 1
    assert len(seen.paths(r"/thumbnail\.png")) <= 60
    assert seen.paths(r"/api/frames\?") == []
    assert len(seen.paths(r"/api/")) <= 64


def test_the_history_loads_further_pages_down_to_the_first_frame(scene, draw, look: Open, fill) -> None:
    fill(200)
    seen = look()
    expect(seen.page.locator(".row").first).to_be_visible()
    before = seen.page.locator(".row").count()
    assert before < 200
    while seen.page.locator(".row").count() < 200:
        count = seen.page.locator(".row").count()
        seen.page.evaluate(
            "() => { const box = document.getElementById('history'); box.scrollTop = box.scrollHeight; }"
        )
        expect(seen.page.locator(".row").nth(count)).to_be_attached()
    ids = seen.page.locator(".row").evaluate_all("rows => rows.map((row) => Number(row.dataset.id))")
    assert ids == sorted(set(ids), reverse=True)
    assert ids[-1] == 1
    assert len(seen.paths(r"/api/frames\?")) >= 2


def test_a_lost_connection_is_told_and_everything_missed_is_there_again(scene, draw, look: Open) -> None:
    first = scene.add(draw(1))
    seen = look(quiet=False)  # the browser itself complains about refused connections
    seen.shows(first["id"])
    scene.stop()
    expect(seen.page.locator("#banners")).to_contain_text("Connection to the daemon lost")
    expect(seen.page.locator("#state")).to_have_text("No connection")
    second = scene.add(draw(2))
    scene.start()
    seen.page.click("#banners button")
    seen.shows(second["id"])
    expect(seen.page.locator("#state")).to_have_text("Running")
    expect(seen.page.locator("#banners")).to_be_empty()
    expect(seen.page.locator(".row")).to_have_count(2)


def test_a_new_token_is_told_as_such(scene, draw, look: Open) -> None:
    scene.add(draw(1))
    seen = look(quiet=False)
    scene.stop()
    scene.token_of_server = "another-token-of-that-kind"
    scene.start()
    expect(seen.page.locator("#banners")).to_contain_text("new token")


def test_overtaken_messages_make_the_page_ask_again(scene, draw, look: Open, monkeypatch) -> None:
    monkeypatch.setattr(events, "QUEUE_SIZE", 1)
    scene.add(draw(1))
    seen = look()
    assert len(seen.paths("/api/events")) == 1
    stored = [scene.add(draw(number), tell=False) for number in range(2, 12)]
    for message in stored:
        scene.feed.publish("frame", {**message, "comment": "x" * 500_000})
    seen.shows(stored[-1]["id"])
    expect(seen.page.locator(".row")).to_have_count(11)
    assert len(seen.paths("/api/events")) > 1


def test_javascript_and_python_agree_where_a_pixel_lies(scene, draw, look: Open) -> None:
    geometry = draw(1).map.frame.geometry
    told = scene.add(draw(1))
    seen = look()
    for pixel in ([0.0, 0.0], [191.0, 127.0], [33.25, 90.5]):
        there = seen.page.evaluate(
            """async ([id, pixel]) => {
              const { toNm } = await import("/static/geometry.js");
              return toNm(await (await fetch(`/api/frames/${id}`)).json(), pixel);
            }""",
            [told["id"], pixel],
        )
        assert there == pytest.approx(geometry.to_nm(np.array([pixel]))[0].tolist(), abs=1e-9)


def test_the_scale_bar_and_the_picture_are_in_proportion(look: Open) -> None:
    page = look().page
    shape = page.evaluate(
        """async () => {
          const { barLength, fit, unscanned } = await import("/static/geometry.js");
          const frame = { size_nm: [60, 30], rows: 256, columns: 64, complete_rows: 200, direction: "up" };
          const bars = [0.7, 10, 33, 100, 4000].map(barLength);
          return [fit(frame, 600, 600), fit(frame, 600, 100), bars, unscanned(frame)];
        }"""
    )
    assert shape[0] == {"left": 0, "top": 150, "width": 600, "height": 300}
    assert shape[1] == {"left": 200, "top": 0, "width": 200, "height": 100}
    assert shape[2] == pytest.approx([0.2, 2, 5, 20, 1000])
    assert shape[3] == {"first": 0, "rows": 56}


def test_numbers_are_written_as_a_physicist_does(look: Open) -> None:
    page = look().page
    written = page.evaluate(
        """async () => {
          const f = await import("/static/format.js");
          return [
            f.si(5e-11, "A"), f.si(-0.35, "V"), f.si(1e-9, "A"), f.si(null, "V"), f.si(0, "V"), f.si(-31.4, "Hz"),
            f.length(20), f.length(0.5), f.length(2000), f.number(0.0213), f.number(2.5e-5), f.number(9375),
            f.percent(0), f.percent(0.1234), f.percent(1), f.place(-12345.678), f.count(10000), f.span(0.42),
            f.span(75), f.span(7300), f.ago(null), f.number(NaN),
          ];
        }"""
    )
    assert written == [
        "50 pA", "−350 mV", "1 nA", "–", "0 V", "−31.4 Hz", "20 nm", "500 pm", "2 µm", "0.0213", "2.50 × 10⁻⁵", "9,375",
        "0 %", "12.3 %", "100.0 %", "−12,345.68", "10,000", "0.42 s", "75 s", "2 h", "–", "–",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (390, 844)])
def test_nothing_overlaps_and_nothing_is_wider_than_the_screen(
    scene, draw, look: Open, width: int, height: int
) -> None:
    scene.status = replace(scene.status, in_hand="D:/data/" + "a_long_name_" * 8 + ".sxm", queued=3)
    told = scene.add(draw(1, name="another_long_name_" * 5 + ".sxm", comment="a long comment " * 12))
    seen = look()
    seen.page.set_viewport_size({"width": width, "height": height})
    seen.shows(told["id"])
    assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= width
    overlaps = seen.page.evaluate(
        """() => {
          const names = [".top h1", "#state", "#vitals", "#model", "#stage-title", ".tools", "#canvas-box", ".below",
            "#facts", "#history", "#counts", "#trend", "#sources", "#faults"];
          const parts = names.map((name) => [name, document.querySelector(name).getBoundingClientRect()])
            .filter(([, box]) => box.width);
          const found = [];
          parts.forEach(([a, p], i) => parts.slice(i + 1).forEach(([b, q]) => {
            const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
            const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
            if (wide > 1 && high > 1) found.push(`${a} ${b}`);
          }));
          return found;
        }"""
    )
    assert overlaps == []
