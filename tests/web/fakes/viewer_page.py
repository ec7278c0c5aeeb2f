"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, what it asked for, and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def paths(self, pattern: str) -> list[str]:
        return [address for address in self.requests if re.search(pattern, address)]

    def shows(self, frame_id: int) -> None:
        """Wait until a frame is on the canvas."""
        expect(self.page.locator("#overlay")).to_have_attribute("data-frame", str(frame_id))
        expect(self.page.locator("body")).to_have_attribute("data-shown", str(frame_id))

    def ink(self, point: list[float]) -> list[int]:
        """The most opaque pixel above the picture within 2 px of a frame pixel: red, green, blue, alpha."""
        return self.page.evaluate(
            """async ([x, y]) => {
              const { fit, toScreen } = await import("/static/geometry.js");
              const frame = await (await fetch(`/api/frames/${document.body.dataset.shown}`)).json();
              const canvas = document.getElementById("overlay");
              const at = toScreen(frame, fit(frame, canvas.clientWidth, canvas.clientHeight), [x, y]);
              const near = canvas.getContext("2d").getImageData(at[0] - 2, at[1] - 2, 5, 5).data;
              let best = [0, 0, 0, 0];
              for (let i = 0; i < near.length; i += 4) {
                const light = near[i] + near[i + 1] + near[i + 2];
                if (near[i + 3] > 0 && light >= best[0] + best[1] + best[2]) best = [...near.slice(i, i + 4)];
              }
              return best;
            }""",
            point,
        )

    def below(self, points: list[list[float]]) -> list[list[int]]:
        """The pixels of the picture at some frame pixels: red, green, blue, alpha."""
        return self.page.evaluate(
            """async (points) => {
              const { fit, toScreen } = await import("/static/geometry.js");
              const frame = await (await fetch(`/api/frames/${document.body.dataset.shown}`)).json();
              const canvas = document.getElementById("picture");
              const rect = fit(frame, canvas.clientWidth, canvas.clientHeight);
              const context = canvas.getContext("2d");
              return points.map((point) => {
                const at = toScreen(frame, rect, point);
                return [...context.getImageData(at[0], at[1], 1, 1).data];
              });
            }""",
            points,
        )


Open = Callable[..., Seen]


@pytest.fixture
def look(browser: Browser, scene) -> Iterator[Open]:
    """Open the page as the daemon's link does; at the end nothing may have gone elsewhere or gone wrong."""
    opened: list[Seen] = []

    def open_page(*, quiet: bool = True, **options: object) -> Seen:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        context.set_default_timeout(15_000)
        page = context.new_page()
        seen = Seen(page)
        if quiet:
            opened.append(seen)

        def asked(request: Request) -> None:
            seen.requests.append(request.url)

        def said(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                seen.complaints.append(message.text)

        page.on("request", asked)
        page.on("websocket", lambda socket: seen.requests.append(socket.url))
        page.on("console", said)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.goto(scene.entry)
        expect(page.locator("body")).to_have_attribute("data-link", "open")
        return seen

    yield open_page
    for context in browser.contexts:
        context.close()
    for seen in opened:
        assert seen.complaints == []
        assert {urlsplit(address).netloc for address in seen.requests} == {f"127.0.0.1:{scene.port}"}
