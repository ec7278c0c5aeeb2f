"""The page while the tip scans, in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from growing_scans import Growing, bad
from playwright.sync_api import Route, expect
from viewer_page import Open, Seen

from spm_live.domain import ScanDirection
from spm_live.publish.live_message import quality_body
from spm_live.scanning import LiveScan, LiveState, Notice

OVERLAPS = """() => {
  const names = ["#notice", "#stage-title", ".tools", "#progress", "#canvas-box", ".below", "#facts",
    "#counts", "#quality", "#notices", "#trend"];
  const parts = names.map((name) => [name, document.querySelector(name).getBoundingClientRect()]);
  const found = [];
  parts.forEach(([a, p], i) => parts.slice(i + 1).forEach(([b, q]) => {
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 1 && high > 1) found.push(`${a} ${b}`);
  }));
  return found;
}"""
EVIL = '<img src=x onerror="document.title=`stolen`">'


@pytest.fixture
def growing() -> Growing:
    return Growing("k1", "nanonis 127.0.0.1:6501", "Au_0042")


def shows(seen: Seen, scan: LiveScan) -> None:
    """Wait until a state of a scan is on the canvas."""
    expect(seen.page.locator("#overlay")).to_have_attribute("data-live", f"{scan.key} {scan.revision}")


def colours(seen: Seen, canvas: str, points: list[tuple[float, float]]) -> list[list[int]]:
    """What a canvas shows at some pixels of a frame of 192 x 128 px, 30 x 20 nm: red, green, blue, alpha.

    The lightest of three pixels above each other: thin lines fall between two.
    """
    return seen.page.evaluate(
        """async ([id, points]) => {
          const { fit, toScreen } = await import("/static/geometry.js");
          const frame = { rows: 128, columns: 192, size_nm: [30, 20] };
          const canvas = document.getElementById(id);
          const rect = fit(frame, canvas.clientWidth, canvas.clientHeight);
          const context = canvas.getContext("2d");
          return points.map((point) => {
            const [x, y] = toScreen(frame, rect, point);
            const near = [...context.getImageData(x, y - 1, 1, 3).data];
            const light = (at) => near[at] + near[at + 1] + near[at + 2];
            const best = [0, 4, 8].reduce((best, at) => (light(at) > light(best) ? at : best));
            return near.slice(best, best + 4);
          });
        }""",
        [canvas, points],
    )


def row(y: float, step: int = 3) -> list[tuple[float, float]]:
    return [(float(x), y) for x in range(60, 130, step)]


def is_grey(pixels: list[list[int]]) -> bool:
    return all(pixel[0] == pixel[1] == pixel[2] for pixel in pixels)


@pytest.mark.parametrize("direction", list(ScanDirection))
def test_the_picture_the_counts_and_the_front_grow(scene, draw, look: Open, direction: ScanDirection) -> None:
    scene.add(draw(1))
    growing = Growing("k1", "nanonis 127.0.0.1:6501", "Au_0042", direction=direction)
    seen = look()
    up = direction is ScanDirection.UP
    for lines in (43, 85):
        scan = scene.board.show(growing, lines)
        shows(seen, scan)
        expect(seen.page.locator("#stage-title")).to_have_text("Scanning Au_0042")
        expect(seen.page.locator("#total")).to_have_text(str(scan.map.total))
        front = sum(count.cut_by_front for count in scan.map.counts.values())
        expect(seen.page.locator("#counts")).to_contain_text(f"{front} more under the front" if front else "edge")
        expect(seen.page.locator("#counts")).to_contain_text("±")
        expect(seen.page.locator("#progress")).to_contain_text(f"{lines} of 128 lines, about")
        scanned, ahead = (127 - 4, 3) if up else (3, 127 - 4)
        assert is_grey(colours(seen, "picture", row(scanned)))
        assert not is_grey(colours(seen, "picture", row(ahead, step=1))), "what is not scanned is not shaded"
        edge = 128 - lines - 0.5 if up else lines - 0.5
        assert all(min(pixel[:3]) > 200 for pixel in colours(seen, "overlay", row(edge))), "no line at the front"
    expect(seen.page.locator("#live")).to_have_text("Live")
    expect(seen.page.locator("#legend")).to_contain_text("cut by the front")
    expect(seen.page.locator("#quality")).to_contain_text("Good")
    assert seen.page.title().startswith("66 %, ")


def test_the_final_frame_takes_the_place_of_the_growing_one(scene, draw, look: Open, growing: Growing) -> None:
    scene.add(draw(1))
    seen = look()
    shows(seen, scene.board.show(growing, 100, quality=bad(40)))
    shows(seen, scene.board.show(growing, 128, quality=bad(40), state=LiveState.WAITING))
    expect(seen.page.locator("#progress")).to_contain_text("waiting for its file")
    told = scene.finish(growing, 50, quality=bad(40))
    seen.shows(told["id"])
    expect(seen.page.locator("#stage-title")).to_have_text("Au_0042.sxm")
    expect(seen.page.locator("#total")).to_have_text(str(told["total"]))
    expect(seen.page.locator("#live")).to_have_text("Live")
    expect(seen.page.locator("#progress")).to_contain_text("finished, 128 lines")
    expect(seen.page.locator("#quality")).to_contain_text("Bad")  # seen while it grew, and still true
    expect(seen.page.locator(".row .flaw")).to_have_text("bad ")
    assert seen.paths(rf"/api/frames/{told['id']}$") == [], "the frame had been told already"


def test_a_frame_of_last_night_still_tells_how_good_its_scan_looked(scene, draw, look: Open, growing: Growing) -> None:
    told = scene.add(draw(1))
    scene.store.save_quality(told["id"], quality_body(bad(40)))
    scene.add(draw(2))
    seen = look()
    expect(seen.page.locator(".row .flaw")).to_have_attribute("title", re.compile("tip changed at line 40"))
    expect(seen.page.locator("#quality-section")).to_be_hidden()
    seen.page.locator(f".row[data-id='{told['id']}']").click()
    seen.shows(told["id"])
    expect(seen.page.locator("#quality")).to_contain_text("line 40 (height)")


def test_the_final_frame_is_found_although_its_message_comes_later(scene, draw, look: Open, growing: Growing) -> None:
    scene.add(draw(1))
    seen = look()
    shows(seen, scene.board.show(growing, 128))
    told = scene.finish(growing, 50, frame_first=False)
    seen.shows(told["id"])
    expect(seen.page.locator(".row")).to_have_count(2)
    expect(seen.page.locator("#live")).to_have_text("Live")


def test_the_next_scan_follows_after_a_moment_for_the_finished_frame(scene, draw, look: Open, growing: Growing) -> None:
    seen = look()
    shows(seen, scene.board.show(growing, 100))
    told = scene.finish(growing, 50)
    seen.shows(told["id"])
    after = Growing("k2", growing.source, "Au_0043", seed=12)
    scene.board.show(after, 20, begun=datetime.now(UTC))
    expect(seen.page.locator("#progress")).to_contain_text("20 of 128 lines")
    seen.shows(told["id"])
    seen.page.clock.set_fixed_time(datetime.now(UTC) + timedelta(seconds=60))
    shows(seen, scene.board.show(after, 30, begun=datetime.now(UTC)))


def test_a_tip_change_is_marked_at_its_line_and_told_in_words(scene, look: Open, growing: Growing) -> None:
    seen = look()
    shows(seen, scene.board.show(growing, 80))
    marked = [(float(x), 39.5) for x in range(5, 60, 2)]
    before = colours(seen, "overlay", marked)
    shows(seen, scene.board.show(growing, 90, quality=bad(40)))
    after = colours(seen, "overlay", marked)
    assert before != after
    assert sum(pixel[0] > 200 and 120 < pixel[1] < 190 for pixel in after) > 10, "no line where the tip changed"
    panel = seen.page.locator("#quality")
    for words in ("Bad", "The tip changed at line 40", "line 40 (height)", "18 pm", "1.30, 0.40 nm"):
        expect(panel).to_contain_text(words)
    expect(seen.page.locator("#said")).to_contain_text("Scan quality: bad")


def test_notices_are_shown_above_everything_and_in_a_list_until_dismissed(scene, look: Open, growing: Growing) -> None:
    now = datetime(2026, 3, 4, 22, 5, tzinfo=UTC)
    notice = Notice("first rule", "Coverage is above 0.3.", now, growing.source, growing.name, key="k1", lines=50)
    scene.notice(notice)
    page = look().page
    expect(page.locator("#notice")).to_contain_text("Coverage is above 0.3.")
    scene.notice(replace(notice, rule=EVIL, text=EVIL, when=now + timedelta(minutes=1)))
    expect(page.locator("#notice")).to_contain_text(EVIL)
    expect(page.locator("#notices > li:has(time)")).to_have_count(2)
    page.click("#notice >> text=Dismiss")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#notices")).to_contain_text("first rule")
    page.reload()
    expect(page.locator("body")).to_have_attribute("data-link", "open")
    expect(page.locator("#notices > li:has(time)")).to_have_count(1)
    page.click("#notices .dismiss")
    expect(page.locator("#notices-section")).to_be_hidden()


def test_of_two_instruments_a_person_chooses_one(scene, draw, look: Open, growing: Growing) -> None:
    scene.add(draw(1))
    other = Growing("k2", "zeromq LT-STM", "7", seed=13)
    seen = look()
    shows(seen, scene.board.show(growing, 40))
    scene.board.show(other, 20)
    expect(seen.page.locator(".scan")).to_have_count(2)
    shows(seen, scene.board.show(growing, 50))  # another one that begins does not take its place
    seen.page.click('.scan[data-key="k2"]')
    shows(seen, scene.board.show(other, 30))
    scene.board.show(growing, 60)
    expect(seen.page.locator('.scan[data-key="k1"]')).to_contain_text("60 of 128 lines")
    expect(seen.page.locator('.scan[data-key="k2"]')).to_have_attribute("aria-pressed", "true")
    scene.finish(growing, 50)  # the finished frame of the other one does not either
    expect(seen.page.locator(".row")).to_have_count(2)
    expect(seen.page.locator(".scan")).to_have_count(1)
    shows(seen, scene.board.show(other, 40))


def test_a_page_that_is_opened_in_mid_scan_shows_it_at_once(scene, draw, look: Open, growing: Growing) -> None:
    scene.add(draw(1))
    scan = scene.board.show(growing, 64)
    seen = look()
    shows(seen, scan)
    expect(seen.page.locator("#total")).to_have_text(str(scan.map.total))
    seen.page.reload()
    shows(seen, scan)
    shows(seen, scene.board.show(growing, 70))


def test_classes_have_their_colours_before_there_is_any_frame(scene, look: Open) -> None:
    scan = scene.board.show(Growing("k1", "nanonis", "Au_0042", seed=13), 128)
    seen = look()
    shows(seen, scan)
    found = [each.molecule.label for each in scan.map.molecules]
    assert found[0] != min(scan.map.counts), "the first outline must not be of the first class here"
    colour = "async (label) => (await import('/static/colours.js')).classColour(label)"
    assert seen.page.evaluate(colour, min(scan.map.counts)) == "#56b4e9"


def test_who_looks_at_an_old_frame_is_left_alone(scene, draw, look: Open, growing: Growing) -> None:
    first, _ = scene.add(draw(1)), scene.add(draw(2))
    seen = look()
    shows(seen, scene.board.show(growing, 40))
    seen.page.keyboard.press("ArrowLeft")
    seen.page.keyboard.press("ArrowLeft")
    seen.shows(first["id"])
    expect(seen.page.locator("#live")).to_have_text("Back to live")
    scene.board.show(growing, 60)
    expect(seen.page.locator("#progress")).to_contain_text("60 of 128 lines")
    pictures = len(seen.paths("/api/live/"))
    scene.board.show(growing, 128)
    scene.finish(growing, 50)
    expect(seen.page.locator("#live")).to_have_text("Back to live, 1 new")
    seen.shows(first["id"])
    assert len(seen.paths("/api/live/")) == pictures, "pictures were loaded that nobody looks at"
    after = Growing("k2", growing.source, "Au_0043")
    scan = scene.board.show(after, 20)
    seen.page.keyboard.press("l")
    shows(seen, scan)


def test_a_scan_that_is_over_without_a_file_says_so_and_makes_room(scene, draw, look: Open, growing: Growing) -> None:
    seen = look()
    shows(seen, scene.board.show(growing, 40))
    shows(seen, scene.board.show(growing, 40, state=LiveState.ENDED))
    expect(seen.page.locator("#progress")).to_contain_text("stopped at line 40 of 128, no file")
    seen.shows(scene.add(draw(1))["id"])


def test_a_daemon_that_dies_in_mid_scan_is_told_and_what_it_forgot_too(scene, draw, look: Open, growing) -> None:
    told = scene.add(draw(1))
    seen = look(quiet=False)  # the browser itself complains about refused connections
    shows(seen, scene.board.show(growing, 40))
    scene.stop()
    expect(seen.page.locator("#banners")).to_contain_text("What is shown may be out of date")
    expect(seen.page.locator("#progress")).to_have_css("opacity", "0.5")
    scene.board.forget("k1")
    scene.start()
    seen.page.click("#banners button")
    seen.shows(told["id"])
    expect(seen.page.locator("#banners")).to_contain_text("does not tell of the scan Au_0042 any more")


def test_a_scan_before_its_first_lines_leaves_the_frame_before_on_the_canvas(scene, draw, look: Open, growing) -> None:
    told = scene.add(draw(1))
    seen = look()
    scene.board.show(growing, 0)
    expect(seen.page.locator("#progress")).to_contain_text("0 of 128 lines")
    seen.shows(told["id"])
    shows(seen, scene.board.show(growing, 3))


def test_markup_in_the_names_of_scans_stays_text(scene, look: Open) -> None:
    evil = Growing("k1", EVIL, EVIL)
    scan = scene.board.show(evil, 40, quality=replace(bad(20), reasons=(EVIL,)))
    seen = look()
    shows(seen, scan)
    expect(seen.page.locator("#stage-title")).to_have_text(f"Scanning {EVIL}")
    expect(seen.page.locator("#quality")).to_contain_text(EVIL)
    assert seen.page.locator('img[src="x"]').count() == 0


def links_body(frame: dict, previous: int | None) -> dict:
    """Links as the daemon tells them: one moved, one turned, one appeared, one vanished."""
    kinds = ("moved", "turned", "appeared", "vanished")
    links = [
        {
            "kind": kind,
            "molecule": None if kind == "vanished" else index,
            "before": None if kind == "appeared" else index,
            "track": index,
            "moved_nm": [2.0, 0.0] if kind == "moved" else None,
            "turned_deg": 40.0 if kind == "turned" else None,
        }
        for index, kind in enumerate(kinds)
    ]
    return {
        "schema": 1, "type": "links", "run": None, "seq": None, "frame": frame["id"], "previous": previous,
        "minutes": 4.0, "drift_nm": [0.8, -0.4], "drift_nm_per_min": [0.2, -0.1], "slope": [0.0, 0.0],
        "method": "both", "agreement": 0.93, "counts": dict.fromkeys(kinds, 1), "links": links if previous else [],
    }  # fmt: skip


def answer_with(body: dict, route: Route) -> None:
    route.fulfill(json=body)


def test_movement_is_drawn_over_a_frame_and_told_in_words(scene, draw, look: Open, growing: Growing) -> None:
    first, second = scene.add(draw(1)), scene.add(draw(4))  # one picture twice
    seen = look()
    seen.shows(second["id"])
    for frame, previous in ((second, first["id"]), (first, None)):
        body = links_body(frame, previous)
        seen.page.route(f"**/api/frames/{frame['id']}/links", partial(answer_with, body))
    seen.page.uncheck('#counts [data-label="four-lobe"] input')
    tail = seen.page.evaluate(
        """async ([id, x, y]) => {
          const { toPx } = await import("/static/geometry.js");
          return toPx(await (await fetch(`/api/frames/${id}`)).json(), [x, y]);
        }""",
        [second["id"], second["molecules"][0]["center_nm"][0] - 1.0, second["molecules"][0]["center_nm"][1]],
    )
    assert seen.ink(tail)[3] == 0
    seen.page.keyboard.press("m")
    panel = seen.page.locator("#movement-panel")
    expect(panel).to_contain_text("Drift 0.22 nm/min: +0.2 along x, −0.1 along y.")
    expect(panel).to_contain_text("2 nm")
    expect(seen.page.locator("#legend")).to_contain_text("vanished")
    assert min(seen.ink(tail)[:3]) > 200, "no arrow on the way of the molecule that moved"
    seen.page.keyboard.press("ArrowLeft")
    seen.shows(first["id"])
    expect(panel).to_have_text("No earlier frame of this place to compare with.")
    expect(seen.page.locator("#legend")).to_be_hidden()
    seen.page.keyboard.press("l")
    shows(seen, scene.board.show(growing, 40))
    expect(seen.page.locator("#movement")).to_be_disabled()
    expect(seen.page.locator("#movement-section")).to_be_hidden()


def test_errors_times_and_silence_are_written_as_a_person_reads_them_and_nm_become_pixels(look: Open) -> None:
    page = look().page
    there = page.evaluate(
        """async () => {
          const { toNm, toPx } = await import("/static/geometry.js");
          const frame = { rows: 128, columns: 192, size_nm: [30, 20], center_nm: [100, -40], angle_deg: 30 };
          return [[0, 0], [191, 127], [33.25, 90.5]].map((pixel) => toPx(frame, toNm(frame, pixel)));
        }"""
    )
    assert [pytest.approx(pixel, abs=1e-9) for pixel in ([0, 0], [191, 127], [33.25, 90.5])] == there
    written = page.evaluate(
        """async () => {
          const { withError } = await import("/static/format.js");
          const { LiveScans, timeLeft } = await import("/static/live.js");
          const live = new LiveScans();
          const scan = { key: "a", state: "scanning", revision: 1, rows: 512, lines_done: 2, time_left_s: 510 };
          live.take(scan);
          const at = live.heard.get("a").since;
          return [
            withError(0.08374, 0.00841), withError(12.3, 4.5), withError(1, null), withError(null, null),
            withError(0, 0.02), withError(2e-9, 1e-9),
            timeLeft(3), timeLeft(61), timeLeft(340), timeLeft(9000),
            live.words(scan, at), live.words(scan, at + 45_000), live.take({ ...scan, revision: 1 }),
          ];
        }"""
    )
    assert written == [
        "0.0837 ± 0.0084", "12.3 ± 4.5", "1", "–", "0.000 ± 0.020", "2.00 × 10⁻⁹ ± 1.0 × 10⁻⁹",
        "a few seconds left", "about 65 s left", "about 6 min left", "about 2.5 h left",
        "2 of 512 lines, about 9 min left", "2 of 512 lines, no new line for 45 s", False,
    ]  # fmt: skip


def test_nothing_overlaps_while_two_scans_grow(scene, draw, look: Open, growing: Growing) -> None:
    scene.add(draw(1))
    now = datetime(2026, 3, 4, 22, 5, tzinfo=UTC)
    scene.notice(Notice("a rule", "a long text " * 8, now, growing.source, growing.name))
    scene.board.show(Growing("k2", "a long name of a source " * 4, "7"), 20)
    scan = scene.board.show(growing, 70, quality=bad(40))
    seen = look()
    seen.page.click('.scan[data-key="k1"]')
    shows(seen, scan)
    for width, height in ((1280, 800), (1180, 820), (820, 1180), (390, 844)):
        seen.page.set_viewport_size({"width": width, "height": height})
        assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(OVERLAPS) == [], width


def test_a_scan_that_cannot_be_worked_on_is_shown_without_a_picture(scene, look: Open, growing: Growing) -> None:
    seen = look()
    shows(seen, scene.board.show(growing, 64, worked=0))
    expect(seen.page.locator("#counts")).to_have_text("Nothing counted yet.")
    assert all(pixel[:3] == [0, 0, 0] for pixel in colours(seen, "picture", row(10)))
    assert not is_grey(colours(seen, "picture", row(120, step=1)))
    assert seen.paths("preview") == []
