"""Take the pictures of the service's page in ``docs/images``: ``hilum serve``, then this with its address."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

HERE = Path(__file__).resolve().parent / "images"
ANSWERED = "#worklist .badge.flag, #worklist .badge.clear, #worklist .badge.abstain"


def main(address: str) -> None:
    """Show the simulated examples at two widths, light and dark, with a heatmap."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, height in ((1280, 920), (360, 800)):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = context.new_page()
                page.goto(address)
                page.click("#examples")
                expect(page.locator(ANSWERED)).to_have_count(4, timeout=30_000)
                page.click("#heat")
                expect(page.locator("#heat-note")).to_contain_text("Colour", timeout=30_000)
                if width < 720:
                    page.locator("#answer").scroll_into_view_if_needed()
                else:
                    page.evaluate("() => scrollTo(0, 0)")
                page.screenshot(path=HERE / f"serve-{width}-{scheme}.png")
                context.close()


if __name__ == "__main__":
    main(sys.argv[1])
