"""The rendered book in Chromium: offline, accessible, light, and all of it works by keyboard.

Every page is opened once for each colour mode and width; the tests read what was seen then. The
checks themselves are shown to fail on bad pages at the end.
"""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import book_pages
import pytest

pytestmark = pytest.mark.browser

HTML, BUDGET = book_pages.HTML, book_pages.BUDGET
MODES, WIDTHS = ("light", "dark"), (1280, 390)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What axe leaves out by default is switched on too, but for contrast at level AAA (7:1), and for
# a rule that asks for a landmark around every box that scrolls: a page of code has dozens.
AXE = {
    "preload": False,  # it would fetch the stylesheets again, which a page on disk may not
    "resultTypes": ["violations"],
    "rules": {
        name: {"enabled": True}
        for name in (
            "css-orientation-lock",
            "label-content-name-mismatch",
            "p-as-heading",
            "table-fake-caption",
            "target-size",
            "td-has-header",
        )
    },
}
WHITE = "rgb(255, 255, 255)"
PATIENCE = 15_000  # ms, for a loaded machine


@dataclass
class Visit:
    """What one opening of a page showed."""

    name: str
    remote: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    axe: list[str] = field(default_factory=list)
    bytes: int = 0
    overflow: int = 0
    backgrounds: list[str] = field(default_factory=list)
    formulas: int = 0
    unset_formulas: int = 0


def pages() -> list[Path]:
    """Every page but index.html at the top, which only leads to the first one."""
    return [path for path in book_pages.pages() if path != HTML / "index.html"]


# --- the browser and a server -------------------------------------------------------------------


def chromium(playwright) -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return found or (own if own and Path(own).exists() else None)


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        book_pages.skip_or_fail("Playwright is not installed: pip install -r requirements.txt")
    with sync_playwright() as playwright:
        path = chromium(playwright)
        if path is None:
            book_pages.skip_or_fail("no Chromium: apt-get install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def context_of(browser, mode: str = "light", width: int = 1280):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
    context.set_default_timeout(PATIENCE)
    return context


def watch(page, visit: Visit, base: str) -> None:
    """Record what a page asks for and complains about; nothing from elsewhere gets through."""

    def guard(route):
        url = route.request.url
        if url.startswith((base, "data:", "blob:")):
            route.continue_()
        else:
            visit.remote.append(url)
            route.abort()

    # A file has no response to weigh, so its size is read from the disk.
    def weigh(request):
        if request.url.startswith("file://"):
            file = Path(unquote(urlsplit(request.url).path))
            visit.bytes += file.stat().st_size if file.is_file() else 0

    page.route("**/*", guard)
    page.on("requestfinished", weigh)
    page.on("requestfailed", lambda request: visit.failed.append(request.url))
    page.on("pageerror", lambda error: visit.console.append(f"uncaught: {error}"))
    page.on(
        "console",
        lambda message: (
            visit.console.append(f"{message.type}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )


def open_page(page, url: str) -> None:
    """Open a page and wait until its formulas are set and its scripts are done."""
    page.goto(url, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    # book.js names the regions that scroll a moment after the formulas are there.
    page.wait_for_timeout(150)


def faults_of_axe(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(page, options=AXE).response["violations"]
    return [f"{v['id']}: {node['html'][:140]}" for v in results for node in v["nodes"]]


def look(page, visit: Visit) -> None:
    """Fill in what is seen on an open page."""
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    visit.overflow = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    visit.formulas = page.evaluate("() => document.querySelectorAll('main .math').length")
    visit.unset_formulas = page.evaluate(
        "() => [...document.querySelectorAll('main .math')].filter("
        "(m) => !m.querySelector('mjx-container') || m.querySelector('mjx-merror')).length"
    )
    visit.backgrounds = page.evaluate(
        "() => [...document.querySelectorAll('article .cell_output img')].map("
        "(image) => getComputedStyle(image).backgroundColor)"
    )
    page.wait_for_timeout(150)
    visit.axe = faults_of_axe(page)


@pytest.fixture(scope="module", name="visits")
def _visits(browser) -> list[Visit]:
    """Every page from the disk, in both colour modes and at both widths."""
    visits = []
    for mode in MODES:
        for width in WIDTHS:
            context = context_of(browser, mode, width)
            for path in pages():
                name = f"{path.relative_to(HTML).as_posix()} {mode} {width}"
                visit = Visit(name)
                page = context.new_page()
                watch(page, visit, "file://")
                open_page(page, path.as_uri())
                look(page, visit)
                page.close()
                visits.append(visit)
            context.close()
    return visits


# --- every page ---------------------------------------------------------------------------------


def test_no_page_on_disk_asks_the_network_for_anything(visits):
    assert {v.name: v.remote for v in visits if v.remote} == {}


def test_no_page_asks_for_a_file_that_is_not_there(visits):
    assert {v.name: v.failed for v in visits if v.failed} == {}


def test_no_page_has_an_error_or_a_warning_in_the_console(visits):
    assert {v.name: v.console for v in visits if v.console} == {}


def test_no_page_has_an_accessibility_violation(visits):
    assert {v.name: v.axe for v in visits if v.axe} == {}


def test_no_page_scrolls_sideways(visits):
    assert {v.name: v.overflow for v in visits if v.overflow > 0} == {}


def test_every_formula_is_typeset(visits):
    assert {v.name: v.unset_formulas for v in visits if v.unset_formulas} == {}
    assert sum(v.formulas for v in visits) > 0


def test_figures_stay_on_white_in_dark_mode_too(visits):
    assert {v.name: v.backgrounds for v in visits if set(v.backgrounds) - {WHITE}} == {}
    assert any(v.backgrounds for v in visits if " dark " in v.name)


def test_no_page_weighs_more_than_its_budget(visits):
    assert {v.name: v.bytes for v in visits if v.bytes > BUDGET} == {}
    assert all(v.bytes > 100_000 for v in visits), "the scale is broken"


def test_served_pages_ask_nobody_else_and_have_no_errors(browser, server):
    context = context_of(browser)
    faults = {}
    for path in pages():
        visit = Visit(path.name)
        page = context.new_page()
        watch(page, visit, server)
        open_page(page, f"{server}/{path.relative_to(HTML).as_posix()}")
        page.close()
        if visit.remote or visit.failed or visit.console:
            faults[visit.name] = (visit.remote, visit.failed, visit.console)
    context.close()
    assert faults == {}


# --- what moves ---------------------------------------------------------------------------------

STATE = """(id) => {
  const range = document.getElementById(id), figure = range.closest("figure");
  const image = figure.querySelector("img");
  return {
    value: range.value, min: range.min, max: range.max, focused: document.activeElement === range,
    text: range.getAttribute("aria-valuetext"), picture: image.src, alt: image.alt,
    output: figure.querySelector(`output[for="${id}"]`)?.textContent,
    name: range.labels[0]?.textContent.trim(),
  };
}"""


def faults_of_slider(page, slider: str) -> list[str]:
    """Move one slider by keyboard from end to end; what does not follow it is a fault."""
    page.locator(f"[id='{slider}']").focus()
    start = page.evaluate(STATE, slider)
    faults = [] if start["focused"] else ["takes no focus"]
    if not start["name"]:
        faults.append("has no label")
    page.keyboard.press("Home")
    seen = [page.evaluate(STATE, slider)]
    for _ in range(int(start["max"]) - int(start["min"])):
        page.keyboard.press("ArrowRight")
        seen.append(page.evaluate(STATE, slider))
    page.keyboard.press("Home")
    home = page.evaluate(STATE, slider)
    page.keyboard.press("End")
    end = page.evaluate(STATE, slider)
    if len(seen) < 2 or [s["value"] for s in seen] != sorted({s["value"] for s in seen}, key=int):
        faults.append("does not move by the arrow keys")
    if home["value"] != home["min"] or end["value"] != end["max"]:
        faults.append("does not move by Home and End")
    if any(a["output"] == b["output"] for a, b in pairwise(seen)):
        faults.append("its output keeps its value")
    if any(s["output"] != s["text"] for s in seen):
        faults.append("its output and its spoken value differ")
    if home["picture"] == end["picture"]:
        faults.append("the picture does not change")
    if home["alt"] == end["alt"] or not all(s["alt"] for s in seen):
        faults.append("the picture's alternative text does not change")
    return faults


def test_every_slider_moves_by_keyboard_and_its_picture_follows(browser):
    context = context_of(browser)
    faults, moved = {}, 0
    for path in pages():
        if 'type="range"' not in path.read_text(encoding="utf-8"):
            continue
        page = context.new_page()
        open_page(page, path.as_uri())
        ids = page.evaluate("() => [...document.querySelectorAll('[type=range]')].map((r) => r.id)")
        for slider in ids:
            moved += 1
            if found := faults_of_slider(page, slider):
                faults[f"{path.name}#{slider}"] = found
        page.close()
    context.close()
    assert faults == {}
    assert moved > 0, "the book has no slider"


def faults_of_quiz(page, quiz: str) -> list[str]:
    """Choose every option of one question by keyboard; each must show its own reason."""
    options = page.locator(f"[id='{quiz}'] input[type=radio]")
    answer = page.locator(f"[id='{quiz}'] [role=status]")
    faults, reasons = [], []
    if answer.count() == 0:
        return ["has no place for a reason"]
    if answer.inner_text().strip():
        faults.append("shows a reason before a choice")
    options.first.focus()
    page.keyboard.press("Space")
    for i in range(options.count()):
        if not options.nth(i).is_checked():
            faults.append(f"option {i + 1} cannot be chosen by keyboard")
        reasons.append(answer.inner_text().strip())
        page.keyboard.press("ArrowDown")
    if not all(reasons) or len(set(reasons)) < len(reasons):
        faults.append("an option has no reason of its own")
    return faults


def test_every_question_is_answered_by_keyboard_with_a_reason(browser):
    context = context_of(browser, "light", 390)
    faults = {}
    for path in pages():
        if 'type="radio" name="quiz' not in path.read_text(encoding="utf-8"):
            continue
        page = context.new_page()
        open_page(page, path.as_uri())
        page.evaluate("() => document.querySelectorAll('details').forEach((d) => d.open = true)")
        ids = page.evaluate(
            "() => [...document.querySelectorAll('fieldset.quiz')].map((q) => q.id)"
        )
        for quiz in ids:
            if found := faults_of_quiz(page, quiz):
                faults[f"{path.name}#{quiz}"] = found
        page.close()
    context.close()
    assert faults == {}


# --- the frame around the pages -----------------------------------------------------------------


def a_notebook_page() -> str:
    found = [
        path.relative_to(HTML).as_posix()
        for path in pages()
        if "data-hub-query" in path.read_text(encoding="utf-8")
    ]
    assert found, "no page has a launch button"
    return found[0]


@pytest.fixture(name="page")
def _page(browser):
    context = context_of(browser)
    # A new window would leave this machine: remember where it would go.
    context.add_init_script(
        "window.opened = []; window.open = (url) => { window.opened.push(url); return null; };"
    )
    page = context.new_page()
    yield page
    context.close()


def test_the_hub_is_asked_for_once_and_remembered(page, server):
    if os.environ.get("SEGCOURSE_HUB"):
        pytest.skip("this book was built for one hub")
    page.goto(f"{server}/{a_notebook_page()}")
    button, field_ = page.locator("[data-hub-query]"), page.locator("#hub-address")
    query = button.get_attribute("data-hub-query")
    page.locator("#menu-run").focus()
    page.keyboard.press("Enter")
    assert not page.locator("[data-hub-change]").is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert field_.evaluate("(e) => e === document.activeElement")
    assert faults_of_axe(page) == []

    field_.fill("no address at all")
    page.keyboard.press("Enter")
    assert "no web address" in page.locator("#hub-fault").inner_text()
    assert page.evaluate("window.opened") == []

    # What people paste: the page that they see after login.
    field_.fill("hub.example.edu/course/hub/home")
    page.keyboard.press("Enter")
    link = f"https://hub.example.edu/course/hub/user-redirect/git-pull?{query}"
    assert page.evaluate("window.opened") == [link]
    assert not page.locator("#hub-dialog").is_visible()

    page.reload()
    page.locator("#menu-run").click()
    button.click()
    assert page.evaluate("window.opened") == [link]
    page.locator("#menu-run").click()
    page.locator("[data-hub-change]").click()
    assert field_.input_value() == "https://hub.example.edu/course"
    page.keyboard.press("Escape")
    assert not page.locator("#hub-dialog").is_visible()


@pytest.mark.parametrize("mode", MODES)
def test_open_menus_and_side_bars_have_no_violation(browser, mode):
    context = context_of(browser, mode, 390)
    page = context.new_page()
    open_page(page, (HTML / a_notebook_page()).as_uri())
    for menu in ("#menu-run", "#menu-source", "#menu-download"):
        page.locator(menu).click()
        assert faults_of_axe(page) == [], menu
        page.keyboard.press("Escape")
    for toggle, dialog in (
        (".primary-toggle", "#pst-primary-sidebar-modal"),
        (".secondary-toggle", "#pst-secondary-sidebar-modal"),
    ):
        page.locator(toggle).first.click()
        page.locator(dialog).wait_for(state="visible")
        assert faults_of_axe(page) == [], toggle
        page.keyboard.press("Escape")
        page.locator(dialog).wait_for(state="hidden")
    context.close()


def test_index_html_leads_to_the_first_page(page, visits):
    page.goto((HTML / "index.html").as_uri())
    page.wait_for_url("**/book/index.html")
    assert page.locator("article h1").count() == 1


def test_the_first_key_leads_past_the_menus(page):
    open_page(page, (HTML / a_notebook_page()).as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
    assert page.locator("#main-content").count() == 1


def test_colours_follow_the_button_and_stay(page, server):
    page.goto(f"{server}/{a_notebook_page()}")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    page.locator(".theme-switch-button").first.click()
    assert page.evaluate(theme) == "dark"
    page.reload()
    assert page.evaluate(theme) == "dark"


def test_a_dark_page_is_printed_in_light_colours(browser):
    context = context_of(browser, "dark")
    page = context.new_page()
    open_page(page, (HTML / a_notebook_page()).as_uri())
    theme = "document.documentElement.dataset.theme"
    seen = [page.evaluate(theme)]
    for event in ("beforeprint", "afterprint"):
        page.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        seen.append(page.evaluate(theme))
    context.close()
    assert seen == ["dark", "light", "dark"]


@pytest.mark.parametrize("on_disk", [True, False], ids=["disk", "server"])
def test_the_search_finds_a_page(page, server, visits, on_disk):
    visit = Visit("search")
    base = HTML.as_uri() if on_disk else server
    watch(page, visit, base)
    page.goto(f"{base}/search.html?q=segmentation")
    page.locator("#search-results li a").first.wait_for()
    assert (visit.remote, visit.failed, visit.console) == ([], [], [])


def test_the_header_s_search_button_leads_to_results(page, server):
    page.goto(f"{server}/{a_notebook_page()}")
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").fill("class")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=class*")
    page.locator("#search-results li a").first.wait_for()


# --- the checks can fail ------------------------------------------------------------------------

SLIDER = """<!DOCTYPE html><html lang="en"><title>t</title><main><h1>t</h1><figure>
<img alt="one picture" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<label for="s">size</label><input id="s" type="range" min="0" max="2" value="0"
aria-valuetext="a"><output for="s">a</output></figure></main></html>"""
QUIZ = """<!DOCTYPE html><html lang="en"><title>t</title><main><h1>t</h1>
<fieldset class="quiz" id="q"><legend>q</legend><label><input type="radio" name="quiz-q"> a</label>
<label><input type="radio" name="quiz-q"> b</label><p role="status"></p></fieldset></main></html>"""
BAD = """<!DOCTYPE html><html lang="en"><title>t</title><main><h1>t</h1>
<img src="https://example.org/a.png"><img src="nowhere.png" alt="none">
<script>console.error("broken")</script><div style="width:3000px">wide</div>
<span class="math">\\(x\\)</span></main></html>"""


def test_a_bad_page_is_seen_as_bad(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(BAD, encoding="utf-8")
    context = context_of(browser)
    visit = Visit("bad")
    page = context.new_page()
    watch(page, visit, "file://")
    open_page(page, path.as_uri())
    look(page, visit)
    context.close()
    assert visit.remote == ["https://example.org/a.png"]
    assert any("nowhere.png" in url for url in visit.failed)
    assert any("broken" in line for line in visit.console)
    assert any(line.startswith("image-alt") for line in visit.axe)
    assert visit.overflow > 0
    assert (visit.formulas, visit.unset_formulas) == (1, 1)
    assert visit.bytes == len(BAD)


def test_a_dead_slider_is_seen_as_dead(page):
    page.set_content(SLIDER)
    assert faults_of_slider(page, "s") == [
        "its output keeps its value",
        "the picture does not change",
        "the picture's alternative text does not change",
    ]


def test_a_question_without_reasons_is_seen(page):
    page.set_content(QUIZ)
    assert faults_of_quiz(page, "q") == ["an option has no reason of its own"]
