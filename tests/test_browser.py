"""The app as a visitor meets it, in Debian's chromium. Screenshots go to ./screenshots."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from advdm.imitators.inversion import load_word
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
HARVEST = app_server.EXAMPLES / "harvest.webp"
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
        expect(self.protect).to_be_enabled()

    def _only_the_app(self, route: sync_api.Route) -> None:
        host = urlsplit(route.request.url).netloc
        if host in ("", urlsplit(app_server.url()).netloc):  # blob: and data: have no host
            route.continue_()
        else:
            self.foreign.add(host)
            route.abort()

    @property
    def protect(self) -> sync_api.Locator:
        return self.page.get_by_role("button", name="Protect", exact=True)

    @property
    def download(self) -> sync_api.Locator:
        return self.page.get_by_role("button", name="Download the protected PNG")

    def choose(self, *files: Path | dict[str, object]) -> None:
        self.page.locator("input[type=file]").first.set_input_files(*files)

    def says(self, status: str) -> None:
        """Wait until the status line matches."""
        expect(self.page.get_by_label("Status")).to_have_value(re.compile(status))

    def set(self, name: str, value: int) -> None:
        """Type a number, again if need be: a field that has only just appeared may still forget it."""
        box = self.page.get_by_label(f"number input for {name}")
        if not box.is_visible():
            self.page.get_by_role("button", name="Advanced").click()
        slider = self.page.get_by_label(f"range slider for {name}")
        for _ in range(10):
            box.fill(str(value))
            box.press("Enter")
            self.page.wait_for_timeout(300)
            if box.input_value() == slider.input_value() == str(value):
                return
        raise AssertionError(f"{name} does not take {value}")

    def take(self, name: str) -> None:
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def saved(self, folder: Path) -> Path:
        """Download the protected file under the name that the page gives it."""
        with self.page.expect_download() as download:
            self.download.click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    visit = Visit(browser)
    yield visit
    visit.page.close()


def largest_change(original: Path, protected: Path) -> int:
    a, b = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (original, protected))
    assert a.shape == b.shape
    return int(np.abs(a - b).max())


def slides(page: Page, painting: Path) -> None:
    """Both pictures are shown at full resolution, and the handle between them follows the mouse."""
    pictures = page.locator("img.preview")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("naturalWidth", Image.open(painting).width)
    handle = page.get_by_test_id("slider")
    box = handle.bounding_box()
    handle.hover()
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert handle.bounding_box()["x"] > box["x"] + 50


def test_whole_way(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.take("start")
    visit.choose(HARVEST)
    visit.says("^Ready")
    page.get_by_label("Subtle").check()
    visit.protect.click()
    visit.says("^Done after 25 steps")
    expect(page.get_by_text("Largest change 4 of 255 levels")).to_be_visible()
    slides(page, HARVEST)
    visit.take("result")
    path = visit.saved(tmp_path)
    assert path.name == "harvest_protected.png"
    assert Image.open(path).format == "PNG"
    assert largest_change(HARVEST, path) == 4
    for name in ("The change", "Loss", "Report"):
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        if name == "Loss":
            expect(page.locator(".marks")).to_be_visible()
        visit.take(name.lower().replace(" ", "_"))
    assert visit.foreign == set()


def test_mimicry_of_the_pair(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.choose(HARVEST)
    visit.says("^Ready")
    visit.protect.click()
    visit.says("^Done")
    page.get_by_role("tab", name="Mimicry").click()
    page.get_by_role("button", name="Use the pair from Protect").click()
    progress = page.get_by_label("Progress")
    expect(progress).to_have_value("Ready.")
    page.get_by_role("button", name="Advanced").last.click()
    steps = page.get_by_label("number input for Steps").last
    steps.fill("3")
    steps.press("Enter")
    page.get_by_label("Prompts").fill("a boat in the style of *")
    expect(page.get_by_text("3 steps, 3 pictures")).to_be_visible()
    page.get_by_role("button", name="Train both imitators").click()
    expect(progress).to_have_value(re.compile("^Done after 3 steps"))
    expect(page.get_by_role("img", name="a boat, seed 0")).to_have_count(3)
    visit.take("mimicry")
    page.get_by_role("tab", name="Word files").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Word learned from the protected").click()
    download.value.save_as(tmp_path / "word.safetensors")
    assert load_word(tmp_path / "word.safetensors").vectors.shape == (4, 16)
    assert visit.foreign == set()
    page.get_by_role("button", name="Clear").first.click()  # an earlier finding does not stand beside other pictures
    expect(page.get_by_role("img", name="a boat, seed 0")).to_have_count(0)


def test_mimicry_says_that_there_is_no_pair_yet(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("tab", name="Mimicry").click()
    page.get_by_role("button", name="Use the pair from Protect").click()
    expect(page.get_by_label("Progress")).to_have_value("Protect a painting first, on the Protect tab.")


def test_words_and_numbers_stay_in_step(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Strong").check()
    expect(page.get_by_label("number input for Epsilon")).to_have_value("16")
    page.get_by_label("Thorough").check()
    expect(page.get_by_label("number input for Steps")).to_have_value("100")
    expect(page.get_by_label("number input for Samples")).to_have_value("4")
    visit.set("Epsilon", 7)
    for word in ("Subtle", "Balanced", "Strong"):
        expect(page.get_by_label(word)).not_to_be_checked()
    visit.set("Epsilon", 4)
    expect(page.get_by_label("Subtle")).to_be_checked()
    visit.set("Samples", 1)
    expect(page.get_by_label("Thorough")).not_to_be_checked()
    visit.set("Steps", 25)
    expect(page.get_by_label("Quick")).to_be_checked()


def test_stop(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app_server.endless_runs(monkeypatch)
    visit.page.get_by_role("button", name="Thumbnail 2 of 8").click()
    visit.says("^Ready")
    visit.set("Steps", app_server.ENDLESS)
    expect(visit.page.get_by_text(f"{app_server.ENDLESS} steps")).to_be_visible()
    visit.protect.click()
    visit.says("^Step .* left")
    visit.take("running")
    visit.page.get_by_role("button", name="Stop").click()
    visit.says(r"^Stopped after \d+ steps")
    expect(visit.protect).to_be_enabled()
    assert 0 < largest_change(app_server.EXAMPLES / "church_at_auvers.webp", visit.saved(tmp_path)) <= 8


def test_closing_the_tab_frees_the_lane(browser: Browser, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    app_server.endless_runs(monkeypatch)
    other = Visit(browser)
    other.choose(HARVEST)
    other.set("Steps", app_server.ENDLESS)
    other.says("^Ready")
    other.protect.click()
    other.says("^Step")
    before = app_server.results()
    visit.choose(HARVEST)
    visit.says("^Ready")
    visit.protect.click()
    expect(visit.page.get_by_text("queue: 1/1")).to_be_visible()
    other.page.close()
    visit.says("^Done")
    assert len(app_server.results() - before) == 1  # the other run never came to its end


def test_full_queue_says_so(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_server.app().demo._queue, "max_size", 0)
    visit.choose(HARVEST)
    visit.says("^Not taken; the message")  # and not that anything is wrong with the file
    visit.protect.click()
    expect(visit.page.get_by_text("This application is currently busy. Please try again.").first).to_be_visible()
    visit.says("^Nothing was done")
    expect(visit.protect).to_be_enabled()


def test_keyboard_only(visit: Visit) -> None:
    page = visit.page

    def tab_to(target: sync_api.Locator) -> None:
        for _ in range(40):
            if target.evaluate("element => element === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError("cannot be reached with Tab")

    with page.expect_file_chooser() as chooser:
        tab_to(page.get_by_role("button", name="Drop an image file here to upload"))
        page.keyboard.press("Enter")
    chooser.value.set_files(HARVEST)
    visit.says("^Ready")
    tab_to(page.get_by_label("Subtle"))  # each radio button is a tab stop of its own in Gradio
    page.keyboard.press("Space")
    expect(page.get_by_label("Subtle")).to_be_checked()
    tab_to(visit.protect)
    page.keyboard.press("Enter")
    visit.says("^Done")
    tab_to(visit.download)
    with page.expect_download():
        page.keyboard.press("Enter")


def test_phone(browser: Browser) -> None:
    visit = Visit(browser, PHONE)
    assert visit.fits()
    visit.page.get_by_role("button", name="Thumbnail 1 of 8").click()
    visit.says("^Ready")
    visit.protect.click()
    visit.says("^Done")
    assert visit.fits()
    visit.take("phone")
    visit.page.close()


def test_dark(browser: Browser) -> None:
    visit = Visit(browser, query="?__theme=dark")
    visit.page.get_by_role("button", name="Thumbnail 8 of 8").click()
    visit.says("^Ready")
    visit.protect.click()
    visit.says("^Done")
    background = visit.page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background)[:3])) < 40
    visit.take("dark")
    visit.page.close()


def test_every_control_has_a_name(visit: Visit) -> None:
    visit.choose(HARVEST)
    visit.says("^Ready")
    visit.page.get_by_role("button", name="Advanced").click()
    visit.protect.click()
    visit.says("^Done")
    assert len(named_controls(visit.page)) > 30
    visit.page.get_by_role("tab", name="Mimicry").click()
    visit.page.get_by_role("button", name="Advanced").last.click()
    expect(visit.page.get_by_label("Prompts")).to_be_visible()
    assert len(named_controls(visit.page)) > 20


def named_controls(page: Page) -> list[tuple[str, str]]:
    """Every control that the page shows, each of which must have a name."""
    tree = page.locator("body").aria_snapshot()
    roles = "button|textbox|radio|slider|spinbutton|combobox|checkbox|listbox|tab|link"
    controls = re.findall(rf"^\s*- ({roles})\b(.*)$", tree, re.MULTILINE)
    assert [role + rest for role, rest in controls if not rest.startswith(' "')] == []
    return controls


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("sketch.heic", b"\0\0\0\x18ftypheic" + bytes(40), "sketch.heic is a HEIC picture, which cannot be read"),
        ("broken.png", HARVEST.read_bytes()[:2000], "broken.png is damaged or incomplete"),
    ],
)
def test_bad_file_says_its_sentence(visit: Visit, name: str, content: bytes, sentence: str) -> None:
    visit.choose({"name": name, "mimeType": "image/png", "buffer": content})
    visit.says(f"^{re.escape(sentence)}")
    visit.take("bad_file")
    visit.protect.click()
    visit.says("^Nothing was done")
    expect(visit.protect).to_be_enabled()


def test_bad_file_says_its_sentence_on_the_other_tab_too(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Mimicry").click()
    expect(visit.page.get_by_role("button", name="Train both imitators")).to_be_visible()
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": HARVEST.read_bytes()[:2000]}
    visit.page.locator("input[type=file]").nth(1).set_input_files(broken)  # the first is of the other tab
    expect(visit.page.get_by_label("Progress")).to_have_value(re.compile("^broken.png is damaged or incomplete"))
    visit.page.wait_for_timeout(1500)
    expect(visit.page.get_by_text("broken.png is damaged or incomplete")).to_have_count(0)  # once, so no message too


def test_robustness_panel_says_what_it_found_and_can_be_stopped(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("tab", name="Mimicry").click()
    for _ in range(2):  # the original's field has gone when the copy comes
        page.locator("input[type=file]").nth(1).set_input_files(HARVEST)
    expect(page.get_by_label("Progress")).to_have_value("Ready.")
    page.get_by_role("button", name="What is left after JPEG").click()
    start = page.get_by_role("button", name="Measure what is left")
    stop = page.get_by_role("button", name="Stop").last
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()
    start.click()
    expect(page.get_by_text("nothing that could be left")).to_be_visible()
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()
    expect(page.get_by_role("table")).to_be_visible()
    visit.take("robustness")
    start.click()
    expect(stop).to_be_enabled()
    stop.click()
    expect(page.get_by_text(re.compile(r"[Ss]topped\.$"))).to_be_visible()
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()


def test_the_mimicry_tab_says_what_is_missing(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Mimicry").click()
    progress = visit.page.get_by_label("Progress")
    expect(progress).to_have_value("Choose an original and its protected copy.")
    visit.page.locator("input[type=file]").nth(1).set_input_files(HARVEST)
    visit.page.locator("input[type=file]").nth(1).set_input_files(HARVEST)  # of the copy: the original's has gone
    expect(progress).to_have_value("Ready.")
    visit.page.get_by_role("button", name="Clear").first.click()
    expect(progress).to_have_value("Choose an original and its protected copy.")
