"""How long the viewer takes from the link to the newest frame, in a real browser.

Against a running daemon::

    python scripts/viewer_timing.py "http://127.0.0.1:8765/?token=..."
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from dataclasses import dataclass

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@dataclass(frozen=True, slots=True)
class Opening:
    """One opening of the page with an empty cache; medians over several.

    Parameters
    ----------
    frame_ms : float
        From the start of the navigation, redirect included, to the newest frame and its outlines on the canvas.
    requests, rows : int
        What the page asked for, and rows in its list of frames, at that moment.
    """

    frame_ms: float
    requests: int
    rows: int


def time_opening(link: str, repeats: int = 5) -> Opening:
    """Open the viewer several times, each in a fresh context.

    Parameters
    ----------
    link : str
        Address with the token, as the daemon prints it.
    repeats : int
        How often; the median is told.

    Raises
    ------
    RuntimeError
        If there is no browser.
    """
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise RuntimeError(f"no browser here: none of {', '.join(BROWSERS)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        found = []
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = context.new_page()
            page.goto(link)
            page.wait_for_function("() => performance.getEntriesByName('frame-shown').length > 0")
            found.append(
                page.evaluate(
                    "() => [performance.getEntriesByName('frame-shown')[0].startTime, "
                    "performance.getEntriesByType('resource').length, document.querySelectorAll('.row').length]"
                )
            )
            context.close()
        browser.close()
    frame_ms, requests, rows = (statistics.median(column) for column in zip(*found, strict=True))
    return Opening(frame_ms, int(requests), int(rows))


def main() -> None:
    """Print one opening."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("link")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    opening = time_opening(options.link, options.repeats)
    print(f"newest frame after {opening.frame_ms:.0f} ms, {opening.requests} requests, {opening.rows} rows")


if __name__ == "__main__":
    main()
