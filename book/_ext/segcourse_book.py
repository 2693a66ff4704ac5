"""What the theme leaves to do: lighter pages, launch buttons that lead somewhere, valid HTML.

Every page must open from the disk, with no network, under a byte budget, and without an
accessibility fault (tests/test_pages.py and tests/test_browser.py hold that).
"""

import os
import re
import shutil
from html import escape
from pathlib import Path
from urllib.parse import quote

import pydata_sphinx_theme
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
THEME_STATIC = (
    Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
)

SUBTITLE = "From the sliding window to the CRF"
# Scripts of extensions that Jupyter Book always loads and that this book does not use.
UNUSED_SCRIPTS = ("sphinx-thebe.js", "THEBE_JS_URL")
UNUSED_STYLES = ("sphinx-thebe.css",)
# Files that no page loads after the trimming below.
UNUSED_FILES = (
    "scripts/fontawesome.js",
    "scripts/fontawesome.js.map",
    "scripts/fontawesome.js.LICENSE.txt",
    "sphinx-thebe.js",
    "sphinx-thebe.css",
    "vendor/fontawesome/webfonts",
    "images/logo_binder.svg",
    "images/logo_colab.png",
    "images/logo_deepnote.svg",
    "images/logo_jupyterhub.svg",
    "images/logo_jupyterlite.svg",
)
# Every Font Awesome icon that the theme's templates, ours or book.js name.
ICONS = (
    "angle-left",
    "angle-right",
    "arrow-up",
    "bars",
    "chevron-down",
    "chevron-right",
    "circle-half-stroke",
    "code",
    "download",
    "expand",
    "file-pdf",
    "lightbulb",
    "list",
    "magnifying-glass",
    "moon",
    "outdent",
    "pencil",
    "print",
    "rocket",
    "sun",
    "xmark",
)


# --- the page's context, before it is rendered ------------------------------------------------


def drop_unused_assets(app, pagename, templatename, context, doctree):
    """Leave out scripts and styles that no page needs."""
    context["script_files"] = [
        js
        for js in context.get("script_files", [])
        if not any(name in f"{js} {_attributes(js).get('body', '')}" for name in UNUSED_SCRIPTS)
    ]
    context["css_files"] = [
        css
        for css in context.get("css_files", [])
        if not any(name in str(css) for name in UNUSED_STYLES)
    ]


def _attributes(asset) -> dict:
    return {**getattr(asset, "attributes", {}), "filename": getattr(asset, "filename", "") or ""}


def page_buttons(app, pagename, templatename, context, doctree):
    """Give our header template what it needs: where the page can run, and its source."""
    options = app.config.html_theme_options
    repository = options.get("repository_url", "").rstrip("/")
    branch = options.get("repository_branch") or "main"
    source = Path(app.env.doc2path(pagename, base=False)) if doctree is not None else None
    is_notebook = source is not None and source.suffix == ".ipynb"

    context["book_subtitle"] = SUBTITLE
    context["launch_links"] = (
        launch_links(options.get("launch_buttons", {}), repository, branch, source.as_posix())
        if is_notebook
        else []
    )
    context["hub"] = hub_link(repository, branch, source.as_posix()) if is_notebook else None
    context["source_links"] = (
        [
            ("Repository", repository),
            ("Suggest an edit", f"{repository}/edit/{branch}/{source.as_posix()}"),
            ("Report a problem", issue_link(repository, pagename)),
        ]
        if source is not None
        else [("Repository", repository)]
    )
    context["notebook_download"] = context.get("sourcename") if is_notebook else None


def launch_links(buttons: dict, repository: str, branch: str, path: str) -> list[tuple[str, str]]:
    """Name and address of every service that runs a notebook of a public repository."""
    owner_and_name = "/".join(repository.split("/")[-2:])
    links = []
    if buttons.get("colab_url"):
        base = buttons["colab_url"].rstrip("/")
        links.append(("Colab", f"{base}/github/{owner_and_name}/blob/{branch}/{path}"))
    if buttons.get("binderhub_url"):
        base = buttons["binderhub_url"].rstrip("/")
        lab = quote(f"lab/tree/{path}", safe="")
        links.append(("Binder", f"{base}/v2/gh/{owner_and_name}/{branch}?urlpath={lab}"))
    return links


def hub_link(repository: str, branch: str, path: str) -> dict[str, str]:
    """The part of an nbgitpuller link after the hub's address, and the address where it is fixed.

    nbgitpuller clones into a folder named after the repository, hence the folder in `urlpath`.
    """
    folder = repository.split("/")[-1]
    query = (
        f"repo={quote(repository, safe='')}&branch={quote(branch, safe='')}"
        f"&urlpath={quote(f'lab/tree/{folder}/{path}', safe='')}"
    )
    address = os.environ.get("SEGCOURSE_HUB", "").strip().rstrip("/")
    if address and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", address):
        raise ValueError(f"SEGCOURSE_HUB is {address!r}; give an address such as https://hub.edu")
    return {"query": query, "address": address}


def issue_link(repository: str, pagename: str) -> str:
    """A new issue whose title names the page."""
    return f"{repository}/issues/new?title={quote(f'Page {pagename}: ')}"


# --- the rendered files -----------------------------------------------------------------------


def finish(app, exception):
    """Trim the theme's files and repair the pages, once all are written."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    (static / "icons.css").write_text(icon_styles(), encoding="utf-8")
    trim_theme_styles(static / "styles" / "pydata-sphinx-theme.css")
    for name in UNUSED_FILES:
        target = static / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    write_front_door(out / "index.html", app.config.root_doc, app.config.html_title)
    for page in out.rglob("*.html"):
        if "_static" not in page.parts and "vendor" not in page.parts:
            before = page.read_text(encoding="utf-8")
            after = repair(before)
            if after != before:
                page.write_text(after, encoding="utf-8")


def icon_styles() -> str:
    """The few icons in use, as masks: 1.5 MB of script become about 15 kB of style.

    The shapes are read from the theme's own copy of Font Awesome Free (icons: CC BY 4.0).
    """
    script = (THEME_STATIC / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    rules = [
        "/* Font Awesome Free 6, https://fontawesome.com, icons under CC BY 4.0 */",
        "i[class*='fa-'],span[class*='fa-']{display:inline-block;width:1em;height:1em;"
        "background:currentColor;-webkit-mask:var(--icon) center/contain no-repeat;"
        "mask:var(--icon) center/contain no-repeat;vertical-align:-.125em}",
        "@media (forced-colors:active){i[class*='fa-'],span[class*='fa-']"
        "{forced-color-adjust:none;background:ButtonText}}",
    ]
    for name in ICONS:
        quoted = re.escape(name)
        hits = re.findall(
            rf'[{{,](?:"{quoted}"|{quoted}):\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]+","([^"]+)"\]',
            script,
        )
        if not hits:
            LOGGER.warning("icon %s is not in the theme's Font Awesome", name)
            continue
        # The regular set, where it has the icon, comes before the solid one.
        width, height, path = hits[-1]
        svg = (
            f"%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'%3E"
            f"%3Cpath d='{path}'/%3E%3C/svg%3E"
        )
        rules.append(f'.fa-{name}{{--icon:url("data:image/svg+xml,{svg}")}}')
    return "\n".join(rules) + "\n"


def trim_theme_styles(path: Path) -> None:
    """Cut Font Awesome's font faces and its 2,500 icon rules out of the theme's stylesheet."""
    css = path.read_text(encoding="utf-8")
    css = re.sub(r"@font-face\{[^}]*Font Awesome[^}]*\}", "", css)
    css = re.sub(r"(?<=\})(?:\.fa-[\w-]+(?::before|:after)?,?)+\{[^}]*\}", "", css)
    css = re.sub(r"/\*# sourceMappingURL=\S+ \*/", "", css)
    path.write_text(css, encoding="utf-8")


def write_front_door(path: Path, root: str, title: str) -> None:
    """Make index.html lead to the first page, with a title and a link for who is not redirected."""
    target = escape(f"{root}.html", quote=True)
    path.write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}: first page</title>\n"
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="refresh" content="0; url={target}">\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n<p><a href="{target}">Open the first page</a></p>\n'
        f"</main>\n</body>\n</html>\n",
        encoding="utf-8",
    )


def repair(html: str) -> str:
    """Mend markup that docutils and the theme write and that a checker rightly refuses."""
    # docutils: a list role whose children are not list items.
    html = html.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    html = re.sub(r'(<div class="citation"[^>]*?) role="doc-biblioentry"', r"\1", html)
    # sphinx-exercise and sphinx-proof give every box of a page the same id.
    html = re.sub(r' id="(?:exercise|solution|proof)-content"', "", html)
    # The name of a control must hold its visible text ("Show code cell source").
    html = html.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    # The side bars are landmarks only with a role and a name.
    html = html.replace(
        '<div id="pst-primary-sidebar" class=',
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Book" class=',
    )
    return html


def setup(app):
    """Connect the steps above; the priorities place them after the theme's own."""
    app.connect("html-page-context", drop_unused_assets, priority=900)
    app.connect("html-page-context", page_buttons, priority=900)
    app.connect("build-finished", finish, priority=900)
    app.add_css_file("icons.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
