"""A page in headless Chromium, opened from a file: it works, asks for nothing, and can be used by everybody."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from reported import Page

from voxcert.evaluation.report import write_report
from voxcert.evaluation.report.pdf import find_browser, write_pdf

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (make setup installs it)")
expect = sync_api.expect
pytestmark = pytest.mark.slow
WINDOWS = [(390, "light"), (390, "dark"), (768, "light"), (1440, "dark")]
COPIED = """
window.copied = [];
if (navigator.clipboard) navigator.clipboard.writeText = async (text) => { window.copied.push(text); };
"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if find_browser() is None:
        pytest.skip("needs Chromium on the path (Debian: chromium)")
    with sync_api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    return write_report(runs, tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def opened(browser, written):
    """A function that opens the page, and what it complained about or asked for meanwhile."""
    contexts, complaints = [], []

    def open_page(width=1440, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.add_init_script(COPIED)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda one: complaints.append(one.url) if not is_own(one.url, written) else None)
        page.goto(written.as_uri())
        return page

    yield open_page, complaints
    for context in contexts:
        context.close()
    assert complaints == []


def is_own(url, written):
    return url.startswith("data:") or url.partition("#")[0] == written.as_uri()


def test_between_two_radii_the_rate_is_that_of_the_larger(opened):
    open_page, _ = opened
    lines = open_page().locator('[data-figure="rates-waveform"] svg g[aria-label="line"] path')
    for drawn in lines.evaluate_all("paths => paths.map((path) => path.getAttribute('d'))"):
        x, y = map(float, re.match(r"M([\d.]+),([\d.]+)", drawn).groups())
        assert re.match(rf"M{x:g},{y:g}V|M{x:g},{y:g}L{x:g},", drawn), "up first, then along"


def curves(page):
    return page.locator('[data-figure="accuracy-waveform"] svg g[aria-label="line"] path').count()


def test_switches_redraw_the_figures(opened):
    open_page, _ = opened
    page = open_page()
    assert page.locator("[data-figure] svg").count() == page.locator("[data-figure]").count() == 4
    before = curves(page)
    assert before == 4  # two sound rules, two attacks; the published one is switched off
    controls = page.locator("#accuracy-waveform-controls")
    controls.get_by_label("published_mean (not a guarantee)").check()
    assert curves(page) == before + 1
    controls.get_by_label("vote", exact=True).uncheck()
    assert curves(page) == before
    drawn = page.locator('[data-figure="accuracy-waveform"]').inner_html()
    controls.get_by_label("axis").select_option("linear")
    assert page.locator('[data-figure="accuracy-waveform"]').inner_html() != drawn
    radii = page.locator('[data-figure="radii-waveform"]').inner_html()
    page.locator("#radii-waveform-controls").get_by_label("rule").select_option("distribution")
    assert page.locator('[data-figure="radii-waveform"]').inner_html() != radii


def test_a_curve_says_its_numbers_under_the_pointer(opened):
    open_page, _ = opened
    page = open_page()
    page.locator('[data-figure="rates-waveform"]').scroll_into_view_if_needed()
    circle = page.locator('[data-figure="rates-waveform"] g[aria-label="dot"] circle').first.bounding_box()
    page.mouse.move(circle["x"] + 3, circle["y"] + 3)
    expect(page.locator('[data-figure="rates-waveform"]')).to_contain_text("certified EER")


def test_players_play(opened):
    open_page, _ = opened
    page = open_page()
    players = page.locator("audio")
    assert players.count() >= 3
    played = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("audio")].map(async (one) => {
            one.muted = true; await one.play();
            await new Promise((done) => { one.onended = done; });
            return one.error === null && Math.abs(one.duration - 0.5) < 0.01;
        }))"""
    )
    assert all(played)
    sizes = page.evaluate("[...document.images].map((one) => one.naturalWidth)")
    assert len(sizes) == players.count()
    assert all(sizes)


def test_tables_copy_as_csv_and_latex(opened, written):
    open_page, _ = opened
    page = open_page()
    own = Page(written.read_text()).tables["certified-0"]
    page.locator('#certified-0 [data-copy="csv"]').click()
    expect(page.locator("#status")).to_have_text("Copied as CSV")
    assert list(csv.reader(page.evaluate("window.copied[0]").splitlines())) == own
    page.locator('#certified-0 [data-copy="latex"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Copied as LaTeX")
    latex = page.evaluate("window.copied[1]")
    assert latex.count(r"\\") == len(own)
    assert r"published\_mean (not a guarantee)" in latex
    assert re.search(r"\\toprule\n.*\n\s*\\midrule", latex)
    page.locator('[data-copy="text"]').first.click()
    expect(page.locator("#status")).to_have_text("Copied")
    assert page.evaluate("window.copied[2]").startswith("voxcert certify --config")


def test_the_keyboard_reaches_the_content(opened):
    open_page, _ = opened
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_nothing_sticks_out_and_everybody_can_use_it(opened, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.base", reason="needs axe-core (make setup installs it)")
    open_page, _ = opened
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_without_scripts_every_number_is_there(browser, written):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.as_uri())
    assert page.locator("#certified-0 table").is_visible()
    context.close()


def test_it_prints(browser, written, tmp_path):
    pdf = write_pdf(written, tmp_path / "report.pdf")
    assert pdf.read_bytes().startswith(b"%PDF")
