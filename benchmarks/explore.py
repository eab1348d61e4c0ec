"""Explorer page: from hovering a pixel to its redraw, in headless Chromium at 224 x 224.

    python -m benchmarks.explore

Each time runs from a pointer event to the end of the frame that draws it, so it holds the wait for that frame (up to
16.7 ms at 60 Hz). Needs playwright (extra test) and a Chromium or Chrome on the PATH.
"""

import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.chromap import radiograph_embeddings
from densecf.visualization.explorer import Method, View, write_explorer
from densecf.visualization.quantise import measured_error, quantise

SIZE = 224
HOVER = """async (count) => {
  const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect(), times = [];
  for (let move = 0; move < count; move++) {
    const start = performance.now();
    const clientX = box.left + box.width * (0.5 + 0.4 * Math.cos(move));
    const clientY = box.top + box.height * (0.5 + 0.4 * Math.sin(move));
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
    times.push(await new Promise((done) => requestAnimationFrame(() => done(performance.now() - start))));
  }
  return times;
}"""


def main() -> None:
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no Chromium or Chrome on the PATH: nothing measured")
        return
    print("| views | axes | page [MB] | every nth pixel | hover to redraw: median [ms] | worst of 100 [ms] |")
    print("|---|---|---|---|---|---|")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        for count in (1, 4):
            features = [radiograph_embeddings(SIZE, seed=seed) for seed in range(count)]
            quantised = quantise(features, 0.05)
            method = Method("built-in", quantised, *measured_error(features, quantised))
            views = [View(f"view {place}", np.full((SIZE, SIZE), 0.5), None, 0) for place in range(count)]
            path = Path(folder, f"{count}.html")
            made = write_explorer(path, "benchmark", views, [method])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(path.as_uri())
            page.wait_for_selector("#pin:not([disabled])")
            times = page.evaluate(HOVER, 100)
            page.close()
            print(
                f"| {count} | {len(quantised.steps)} | {len(made.text) / 1e6:.1f} | {made.stride} "
                f"| {statistics.median(times):.1f} | {max(times):.1f} |",
                flush=True,
            )
        browser.close()


if __name__ == "__main__":
    main()
