"""The app as a visitor meets it, in Debian's chromium. Screenshots go to ./screenshots."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests import app_server

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no /usr/bin/chromium: apt-get install chromium"),
]
expect, Page, Browser = sync_api.expect, sync_api.Page, sync_api.Browser
SLOW = 120_000  # ms, for a busy machine
expect.set_options(timeout=SLOW)

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


class Visit:
    """One visitor's page: nothing but the app can be reached, and what was asked for elsewhere is noted."""

    def __init__(self, browser: Browser, viewport: dict[str, int] = DESKTOP, query: str = "") -> None:
        self.foreign: set[str] = set()
        self.page: Page = browser.new_page(viewport=viewport)
        self.page.set_default_timeout(SLOW)
        self.page.route("**/*", self._only_the_app)
        self.page.goto(app_server.url() + query)
        expect(self.button("Protect")).to_be_enabled()

    def _only_the_app(self, route: sync_api.Route) -> None:
        host = urlsplit(route.request.url).netloc
        if host in ("", urlsplit(app_server.url()).netloc):  # blob: and data: have no host
            route.continue_()
        else:
            self.foreign.add(host)
            route.abort()

    def button(self, name: str) -> sync_api.Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def choose(self, *files: Path) -> None:
        self.page.locator("input[type=file]:not([webkitdirectory])").first.set_input_files(*files)

    def says(self, words: str) -> None:
        """Wait until it can be read somewhere."""
        seen = self.page.get_by_text(re.compile(words)).locator("visible=true").first
        expect(seen).to_be_visible()

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def take(self, name: str) -> None:
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def saved(self, folder: Path) -> np.ndarray:
        """The levels of the protected file, downloaded under the name that the page gives it."""
        with self.page.expect_download() as download:
            self.page.get_by_text("Download the protected PNG").click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return np.asarray(Image.open(path)).astype(int)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    visitor = Visit(browser)
    yield visitor
    assert not visitor.foreign, "the page asked for something elsewhere"
    visitor.page.close()


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    """A small picture whose long name must not break the page."""
    levels = np.random.default_rng(0).integers(40, 216, (12, 16, 3), np.uint8)
    path = tmp_path / f"{'a very long name ' * 8}end.png"
    Image.fromarray(levels).resize((320, 240), Image.Resampling.BICUBIC).save(path)
    return path


def test_protect_look_and_download(visit, painting, tmp_path):
    visit.choose(painting)
    visit.says("Ready")
    visit.button("Protect").click()
    visit.says("Done after 25 steps")
    visit.says("of 10, where 10 is no difference")
    change = visit.saved(tmp_path) - np.asarray(Image.open(painting)).astype(int)
    assert change.any() and abs(change).max() <= 64
    visit.take("protect")


def test_an_example_is_one_click_away(visit):
    visit.page.locator(".strip button").nth(2).click()
    visit.says("Ready")


def test_after_an_error_one_goes_on_by_keyboard(visit, painting):
    visit.button("Protect").focus()
    visit.page.keyboard.press("Enter")
    visit.says("Choose a painting first")
    expect(visit.button("Protect")).to_be_enabled()
    expect(visit.button("Protect")).to_be_focused()
    visit.choose(painting)
    visit.says("Ready")
    visit.page.keyboard.press("Enter")
    visit.says("Done after 25 steps")


def test_what_the_brush_covers_is_left_clean(visit, painting, tmp_path):
    visit.choose(painting)
    visit.says("Ready")
    visit.page.get_by_text("Leave parts clean").click()
    canvas = visit.page.locator("canvas").first
    expect(canvas).to_be_visible()
    visit.page.wait_for_timeout(2000)  # the editor draws the painting after it has appeared
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(middle[0] - 20, middle[1])
    visit.page.mouse.down()
    visit.page.mouse.move(*middle, steps=5)
    visit.page.mouse.move(middle[0] + 20, middle[1], steps=5)
    visit.page.mouse.up()
    visit.page.wait_for_timeout(1000)
    visit.take("brush")
    visit.button("Protect").click()
    visit.says("Done after 25 steps")
    change = visit.saved(tmp_path) - np.asarray(Image.open(painting)).astype(int)
    assert not change[118:122, 155:165].any(), "under the brush"
    assert change[:40].any(), "elsewhere"


def test_several_at_once_and_one_that_is_no_picture(visit, painting, tmp_path):
    first, other, broken = tmp_path / "first.png", tmp_path / "second.png", tmp_path / "broken.png"
    painting.rename(first)
    Image.open(first).rotate(90, expand=True).save(other)
    broken.write_bytes(b"no picture")
    visit.tab("Several")
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_text("Click to Upload").locator("visible=true").first.click()
    chooser.value.set_files([first, other, broken])
    visit.says("^second")
    visit.button("Protect").click()
    visit.says("Done: 2 of 3 files protected")
    visit.says("Not done: broken.png")
    visit.says("^second_protected")
    visit.take("several")


def test_mimicry_and_more_pictures(visit, painting):
    visit.choose(painting)
    visit.says("Ready")
    visit.button("Protect").click()
    visit.says("Done after 25 steps")
    visit.tab("Mimicry")
    visit.button("Use the pair from Protect").click()
    visit.says("^Ready")
    visit.page.get_by_text("image to image").click()
    visit.page.locator("#mimic").click()
    visit.says("24 pictures of each imitator")
    visit.page.locator("#more").click()
    visit.says("48 pictures of each imitator")
    visit.take("mimicry")


@pytest.mark.parametrize("theme", ("light", "dark"))
def test_a_phone_shows_it_all(browser, painting, theme):
    visit = Visit(browser, PHONE, f"?__theme={theme}")
    visit.choose(painting)
    visit.says("Ready")
    visit.button("Protect").click()
    visit.says("Done after 25 steps")
    assert visit.fits()
    visit.take(f"phone_{theme}")
    visit.tab("Mimicry")
    assert visit.fits()
    visit.page.close()
