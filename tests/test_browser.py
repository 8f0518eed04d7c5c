"""The app as a visitor meets it, in Debian's chromium. Screenshots go to ./screenshots."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.app_server import url

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no /usr/bin/chromium: apt-get install chromium"),
]
expect = sync_api.expect
SLOW = 120_000  # ms, for a busy machine
expect.set_options(timeout=SLOW)
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


class Visit:
    """One visitor's page: nothing but the app can be reached, and what was asked for elsewhere is noted."""

    def __init__(self, browser, viewport, query=""):
        self.foreign = set()
        self.page = browser.new_page(viewport=viewport)
        self.page.set_default_timeout(SLOW)
        self.page.route("**/*", self._only_the_app)
        self.page.goto(url() + query)
        expect(self.button("Protect")).to_be_enabled()

    def _only_the_app(self, route):
        host = urlsplit(route.request.url).netloc
        if host in ("", urlsplit(url()).netloc):  # blob: and data: have no host
            route.continue_()
        else:
            self.foreign.add(host)
            route.abort()

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def tab(self, name):
        self.page.get_by_role("tab", name=name, exact=True).click()

    def choose(self, file):
        self.page.locator("input[type=file]:not([webkitdirectory])").first.set_input_files(file)
        self.says("Ready")

    def protect(self):
        self.button("Protect").click()
        self.says("Done after 25 steps")

    def says(self, words):
        """Wait until it can be read somewhere."""
        expect(self.page.get_by_text(re.compile(words)).locator("visible=true").first).to_be_visible()

    def take(self, name):
        """A screenshot, of a page that is not wider than the screen."""
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture
def visit(browser):
    visitor = Visit(browser, DESKTOP)
    yield visitor
    assert not visitor.foreign, "the page asked for something elsewhere"
    visitor.page.close()


@pytest.fixture
def painting(tmp_path):
    """A small picture whose long name must not break the page."""
    levels = np.random.default_rng(0).integers(40, 216, (12, 16, 3), np.uint8)
    path = tmp_path / f"{'a very long name ' * 8}end.png"
    Image.fromarray(levels).resize((320, 240), Image.Resampling.BICUBIC).save(path)
    return path


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
    visit.page.keyboard.press("Enter")
    visit.says("Done after 25 steps")


def test_the_download_is_protected_but_for_what_the_brush_covers(visit, painting, tmp_path):
    visit.choose(painting)
    visit.page.get_by_text("Leave parts clean").click()
    canvas = visit.page.locator("canvas").first
    expect(canvas).to_be_visible()
    visit.page.wait_for_timeout(2000)  # the editor draws the painting after it has appeared
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(x - 20, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x + 20, y, steps=10)
    visit.page.mouse.up()
    visit.page.wait_for_timeout(1000)
    visit.protect()
    visit.says("of 10, where 10 is no difference")
    visit.take("protect")
    with visit.page.expect_download() as download:
        visit.page.get_by_text("Download the protected PNG").click()
    copy = np.asarray(Image.open(download.value.path())).astype(int)
    change = copy - np.asarray(Image.open(painting))
    assert download.value.suggested_filename.endswith("_protected.png")
    assert not change[118:122, 155:165].any(), "under the brush"
    assert change[:40].any() and abs(change).max() <= 64, "elsewhere"


def test_several_at_once_and_one_that_is_no_picture(visit, painting, tmp_path):
    first, second, broken = (tmp_path / f"{name}.png" for name in ("first", "second", "broken"))
    painting.rename(first)
    Image.open(first).rotate(90, expand=True).save(second)
    broken.write_bytes(b"no picture")
    visit.tab("Several")
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_text("Click to Upload").locator("visible=true").first.click()
    chooser.value.set_files([first, second, broken])
    visit.says("^second")
    visit.button("Protect").click()
    visit.says("Done: 2 of 3 files protected")
    visit.says("Not done: broken.png")
    visit.says("^second_protected")
    visit.take("several")


def test_mimicry_and_more_pictures(visit, painting):
    visit.choose(painting)
    visit.protect()
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
    visit.protect()
    visit.take(f"phone_protect_{theme}")
    visit.tab("Mimicry")
    visit.take(f"phone_mimicry_{theme}")
    visit.page.close()
