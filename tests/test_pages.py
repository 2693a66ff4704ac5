"""The rendered pages as files: complete, self-contained, light, readable without eyes.

Each check is a function from a page to its faults, and is shown to find them in a bad page.
"""

import importlib.util
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import book_pages
import pytest

BeautifulSoup = pytest.importorskip("bs4").BeautifulSoup

HTML, ROOT, BUDGET = book_pages.HTML, book_pages.ROOT, book_pages.BUDGET
REPOSITORY = "https://github.com/segcourse/segcourse"


@pytest.fixture(scope="module", name="pages")
def _pages() -> list[Path]:
    return book_pages.pages()


@cache
def parse(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(tag["id"] for tag in parse(path).find_all(id=True))


def is_remote(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme not in ("", "data")


def assets(path: Path) -> list[str]:
    """What the browser loads for a page without being asked, as written in its HTML."""
    soup = parse(path)
    found = [tag["src"] for tag in soup.find_all(src=True)]
    found += [
        tag["href"]
        for tag in soup.find_all("link", href=True)
        if {"stylesheet", "icon", "preload", "modulepreload", "prefetch"} & set(tag.get("rel", []))
    ]
    for tag in soup.find_all(srcset=True):
        found += [part.split()[0] for part in tag["srcset"].split(",")]
    for style in [tag.get_text() for tag in soup.find_all("style")]:
        found += re.findall(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?([^\"')\s;]+)", style)
    return found


# --- checks: page -> faults ---------------------------------------------------------------------


def remote_assets(path: Path) -> list[str]:
    return [address for address in assets(path) if is_remote(address)]


def missing_assets(path: Path) -> list[str]:
    local = [address for address in assets(path) if not is_remote(address)]
    return [
        address
        for address in local
        if not address.startswith("data:")
        and not (path.parent / unquote(urlsplit(address).path)).is_file()
    ]


def dead_links(path: Path) -> list[str]:
    """Links inside the book whose page or anchor is not there."""
    faults = []
    for tag in parse(path).find_all("a", href=True):
        link = urlsplit(tag["href"])
        if link.scheme or link.netloc:
            continue
        target = (path.parent / unquote(link.path)).resolve() if link.path else path
        lost = not target.is_file()
        if not lost and link.fragment and target.suffix == ".html":
            lost = unquote(link.fragment) not in anchors(target)
        if lost:
            faults.append(tag["href"])
    return faults


def images_without_text(path: Path) -> list[str]:
    """Pictures in the text with no alternative text, or with a file's path in its place."""
    faults = []
    for image in parse(path).find_all("img"):
        alt = (image.get("alt") or "").strip()
        # The book's mark stands beside the title that it would repeat.
        decorative = image.get("alt") == "" and image.find_parent(class_="book-brand")
        is_path = re.fullmatch(r"\S*[/\\]\S*|\S+\.(png|jpe?g|webp|svg|gif)", alt, re.IGNORECASE)
        if not decorative and (not alt or is_path or len(alt.split()) < 2):
            faults.append(f"{image.get('src', '')[:60]} alt={alt!r}")
    return faults


def figures_without_caption(path: Path) -> list[str]:
    """Pictures that a cell shows without a caption that says what to see."""
    article = parse(path).find("article")
    images = article.select(".cell_output img") if article else []
    return [
        image.get("alt", "")[:60]
        for image in images
        if image.find_parent("figure") is None or not image.find_parent("figure").find("figcaption")
    ]


def bad_outputs(path: Path) -> list[str]:
    """Tracebacks, warnings on stderr, and outputs with nothing in them."""
    faults = []
    for cell in parse(path).select("div.cell"):
        # A cell that is meant to fail says so with this tag.
        if "tag_raises-exception" in cell.get("class", []):
            continue
        for output in cell.select(".output.traceback, .output.stderr"):
            faults.append(output.get_text()[:80])
        for output in cell.select(".cell_output"):
            if not output.get_text(strip=True) and not output.find(["img", "svg", "video"]):
                faults.append(f"empty output after {cell.get_text()[:60]!r}")
        if "Traceback (most recent call last)" in cell.get_text():
            faults.append("a traceback is printed")
    return faults


def heading_faults(path: Path) -> list[str]:
    """One h1, and no level left out on the way down."""
    soup = BeautifulSoup(str(parse(path).find("main") or ""), "html.parser")
    for hidden in soup.select("#jb-print-docs-body, dialog"):
        hidden.decompose()
    levels = [int(tag.name[1]) for tag in soup.find_all(re.compile(r"^h[1-6]$"))]
    faults = [] if levels.count(1) == 1 else [f"{levels.count(1)} h1 headings"]
    return faults + [f"h{a} then h{b}" for a, b in pairwise(levels) if b > a + 1]


def doubled_ids(path: Path) -> list[str]:
    counts = Counter(tag["id"] for tag in parse(path).find_all(id=True))
    return [name for name, count in counts.items() if count > 1]


def overweight(path: Path) -> list[str]:
    """The page and what its HTML names. The browser test weighs what scripts and styles add."""
    files = {
        path.parent / unquote(urlsplit(address).path)
        for address in assets(path)
        if not is_remote(address) and not address.startswith("data:")
    }
    total = path.stat().st_size + sum(file.stat().st_size for file in files if file.is_file())
    return [f"{total} bytes, over {BUDGET}"] if total > BUDGET else []


def icons_without_shape(path: Path) -> list[str]:
    """Icons that a template names and that icons.css does not draw."""
    sheet = next(iter(path.parent.glob("_static/icons.css")), None) or HTML / "_static/icons.css"
    drawn = sheet.read_text(encoding="utf-8") if sheet.is_file() else ""
    used = {
        name
        for tag in parse(path).select("i[class*='fa-'], span[class*='fa-']")
        for name in tag["class"]
        if name.startswith("fa-") and name not in ("fa-solid", "fa-brands", "fa-regular", "fa-lg")
    }
    return sorted(name for name in used if f".{name}{{" not in drawn)


CHECKS = {
    remote_assets: '<script src="https://cdn.example.org/a.js"></script>',
    missing_assets: '<link rel="stylesheet" href="nowhere.css">',
    dead_links: '<a href="#nowhere">there</a>',
    images_without_text: '<img src="a.png" alt="../_images/a.png">',
    figures_without_caption: '<article><div class="cell_output"><img alt="a b"></div></article>',
    bad_outputs: '<div class="cell"><div class="cell_output"></div></div>',
    heading_faults: "<main><h1>One</h1><h3>Three</h3></main>",
    doubled_ids: '<p id="a"></p><p id="a"></p>',
    overweight: "x" * (BUDGET + 1),
    icons_without_shape: '<i class="fa-solid fa-unheard-of"></i>',
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_no_page_has(check, pages):
    faults = {page.relative_to(HTML).as_posix(): check(page) for page in pages}
    assert {page: found for page, found in faults.items() if found} == {}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_bad_page_is_caught_by(check, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(f"<html><body>{CHECKS[check]}</body></html>", encoding="utf-8")
    assert check(page)


@pytest.mark.parametrize(
    "html",
    [
        '<img src="https://example.org/a.png" alt="a remote picture">',
        '<link rel="stylesheet" href="//cdn.example.org/a.css">',
        '<style>@import url("https://fonts.example.org/css");</style>',
        '<iframe src="https://example.org/"></iframe>',
    ],
)
def test_every_kind_of_remote_asset_is_caught(html, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(html, encoding="utf-8")
    assert remote_assets(page)


@pytest.mark.parametrize(
    "html",
    [
        '<div class="output stderr">UserWarning: no</div>',
        '<div class="output traceback">ValueError</div>',
        "<pre>Traceback (most recent call last):</pre>",
    ],
)
def test_every_kind_of_bad_output_is_caught(html, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(f'<div class="cell">{html}</div>', encoding="utf-8")
    assert bad_outputs(page)


def test_stylesheets_of_the_pages_load_nothing_from_elsewhere(pages):
    sheets = {
        (page.parent / unquote(urlsplit(address).path)).resolve()
        for page in pages
        for address in assets(page)
        if urlsplit(address).path.endswith(".css")
    }
    assert sheets
    loads = r"(?:@import\s+(?:url\()?|url\()\s*[\"']?((?:https?:)?//[^\"')\s;]+)"
    faults = {s.name: re.findall(loads, s.read_text(encoding="utf-8")) for s in sheets}
    assert {name: found for name, found in faults.items() if found} == {}


def test_titles_are_unique(pages):
    titles = Counter(parse(page).title.get_text() for page in pages)
    assert [title for title, count in titles.items() if count > 1] == []


def test_only_pages_with_formulas_load_the_formula_library(pages):
    for page in pages:
        has_formulas = bool(parse(page).select("main .math"))
        loads = any("mathjax" in address for address in assets(page))
        assert loads == has_formulas, page


def test_the_first_page_is_reached_from_index_html(pages):
    door = parse(HTML / "index.html")
    target = door.find("a")["href"]
    assert (HTML / target).is_file()
    assert door.html["lang"] == "en"
    assert target in door.find("meta", attrs={"http-equiv": "refresh"})["content"]


def test_launch_buttons_lead_to_the_page_s_own_notebook(pages):
    notebooks = [p for p in pages if (HTML / "_sources" / notebook_of(p)).is_file()]
    assert notebooks
    for page in notebooks:
        path = notebook_of(page)
        links = {a.get_text(strip=True): a["href"] for a in parse(page).select("a.dropdown-item")}
        assert links["Colab"] == (
            f"https://colab.research.google.com/github/segcourse/segcourse/blob/main/{path}"
        )
        binder = urlsplit(links["Binder"])
        assert binder.netloc + binder.path == "mybinder.org/v2/gh/segcourse/segcourse/main"
        assert parse_qs(binder.query) == {"urlpath": [f"lab/tree/{path}"]}
        hub = parse_qs(parse(page).select_one("[data-hub-query]")["data-hub-query"])
        assert hub == {
            "repo": [REPOSITORY],
            "branch": ["main"],
            "urlpath": [f"lab/tree/segcourse/{path}"],
        }
        if HTML.is_relative_to(ROOT):
            assert (ROOT / path).is_file()


def notebook_of(page: Path) -> str:
    return page.relative_to(HTML).with_suffix(".ipynb").as_posix()


# --- the local extension ------------------------------------------------------------------------


@pytest.fixture(scope="module", name="extension")
def _extension():
    pytest.importorskip("pydata_sphinx_theme", reason="the book's requirements are not installed")
    spec = importlib.util.spec_from_file_location(
        "segcourse_book", ROOT / "book" / "_ext" / "segcourse_book.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_instructor_s_hub_is_fixed_by_the_environment(extension, monkeypatch):
    monkeypatch.delenv("SEGCOURSE_HUB", raising=False)
    assert extension.hub_link(REPOSITORY, "main", "book/a.ipynb")["address"] == ""
    monkeypatch.setenv("SEGCOURSE_HUB", " https://hub.example.edu/course/ ")
    link = extension.hub_link(REPOSITORY, "main", "book/a.ipynb")
    assert link["address"] == "https://hub.example.edu/course"


@pytest.mark.parametrize("address", ["hub", "ftp://hub.example.edu", "https://", "https://a b"])
def test_a_hub_that_is_no_web_address_is_refused(extension, monkeypatch, address):
    monkeypatch.setenv("SEGCOURSE_HUB", address)
    with pytest.raises(ValueError, match="give an address such as"):
        extension.hub_link(REPOSITORY, "main", "book/a.ipynb")


def test_trimming_the_theme_keeps_every_rule_but_the_icons(extension, tmp_path):
    sheet = tmp_path / "theme.css"
    sheet.write_text(
        "a{color:red}@font-face{font-family:Font Awesome\\ 6 Free;src:url(x)}"
        '.fa-sun:before{content:"\\f185"}.fa-a:before,.fa-b:before{content:"b"}p{margin:0}'
    )
    extension.trim_theme_styles(sheet)
    assert sheet.read_text() == "a{color:red}p{margin:0}"


def test_every_icon_is_drawn_from_the_theme_s_own_shapes(extension):
    styles = extension.icon_styles()
    assert [name for name in extension.ICONS if f".fa-{name}{{" not in styles] == []
    assert len(styles) < 20_000
