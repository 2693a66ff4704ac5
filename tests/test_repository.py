"""The repository holds together: who imports whom, one version, one address, pages in order."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import segcourse

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "segcourse"
ADDRESS = "https://github.com/segcourse/segcourse"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
# In the order of the course; a page appears in _toc.yml when it is done.
CHAPTERS = [
    "index",
    "sliding_window",
    "fcn",
    "upsampling",
    "unet",
    "deconvnet",
    "atrous",
    "aspp",
    "crf",
    "results",
    "glossary",
    "bibliography",
    "instructors",
]
PAGES = [Path(TOC["root"]).stem] + [
    Path(page["file"]).stem for part in TOC["parts"] for page in part["chapters"]
]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
MODULES = sorted(PACKAGE.rglob("*.py"))


def tracked_files():
    """The files that git holds or would take in."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in run.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# ---- who may import whom

BASE = {"errors", "labels"}
TRAINING = {
    "averaging",
    "config",
    "optim",
    "checkpoints",
    "weights",
    "distributed",
    "progress",
    "records",
    "resuming",
    "training",
}
# Small weights know the networks that they belong to, and nothing knows them but the command line.
NETWORKS = {
    "deconvnet",
    "deeplab_networks",
    "dilated_networks",
    "fcn_networks",
    "full_resolution",
    "residual_unet",
    "segnet",
    "unet",
}
RESULTS = {"results", "claims", "published", "scoreboard", "result_tables", "ladder_tables"}
RESULTS |= {"speed_tables", "claim_tables", "class_tables"}
ROOMS = {
    "": set(),
    "errors": set(),
    "labels": {"errors"},
    **dict.fromkeys(RESULTS, {"errors"} | RESULTS),
    "data": BASE,
    "losses": BASE,
    "metrics": BASE,
    "backbones": BASE,
    **dict.fromkeys(TRAINING, BASE | {"data", "losses", "metrics"} | TRAINING),
    "pretrained": BASE | NETWORKS | {"data", "weights"},
    "plotting": BASE,
    "widgets": BASE | {"plotting"},
    "grading": BASE,
    "__main__": {"cli"},
}
ONLY_IN = {"matplotlib": {"plotting"}, "ipywidgets": {"widgets"}, "IPython": {"widgets"}}
CHAPTER_LIBRARIES = {"torch", "torchvision", "numpy"}


def room(path):
    """The module's or subpackage's name directly under segcourse; '' for the package itself."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(path):
    """The dotted names that a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; name the module in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path):
    names = (name.split(".") for name in imports(path))
    found = {name[1] for name in names if name[0] == "segcourse" and len(name) > 1}
    return {
        name for name in found if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()
    }


def chapter_of(path):
    """The page that a module's opening names first, as its place in the course."""
    opening = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    named = re.findall(r"book/(\w+)\.ipynb", opening)
    assert named, f"{path.name}: its opening must name its page, as in book/sliding_window.ipynb"
    return CHAPTERS.index(named[0])


def is_chapter(path):
    return room(path) not in ROOMS and room(path) != "cli"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_arrows(path):
    here = room(path)
    if here == "cli":
        return
    others = rooms_imported(path) - {here}
    if not is_chapter(path):
        assert others <= ROOMS[here], f"{here} may not import {others - ROOMS[here]}"
        return
    for other in others - BASE - {"backbones"}:
        assert is_chapter(PACKAGE / f"{other}.py"), f"a chapter may not import {other}"
        assert chapter_of(PACKAGE / f"{other}.py") <= chapter_of(path), f"{other} comes later"
    libraries = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names
    assert libraries <= CHAPTER_LIBRARIES | {"segcourse"}


def test_only_main_imports_the_command_line():
    importers = {room(path) for path in MODULES if "cli" in rooms_imported(path)}
    assert importers <= {"__main__", "cli"}


@pytest.mark.parametrize(("library", "rooms"), ONLY_IN.items())
def test_library_is_imported_in_its_room_alone(library, rooms):
    users = {
        room(path) for path in MODULES if any(n.split(".")[0] == library for n in imports(path))
    }
    assert users <= rooms


@pytest.mark.slow
def test_core_works_without_jupyter_and_matplotlib():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if room(path) not in ("plotting", "widgets", "__main__")
    ]
    absent = "matplotlib ipywidgets IPython ipykernel nbformat jupyter_book skimage sklearn scipy"
    program = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({f"{absent} tensorboard pytest".split()!r}))
for name in {names!r}:
    importlib.import_module(name)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_import_segcourse_is_light():
    program = "import sys, segcourse; print('torch' in sys.modules or 'numpy' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


# ---- versions, addresses, pins


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert citation["version"] == newest[1] == segcourse.__version__


def test_ruff_is_one_version():
    pinned = next(r for r in PYPROJECT["project"]["optional-dependencies"]["test"] if "ruff" in r)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    hook = next(repo["rev"] for repo in hooks if "ruff" in repo["repo"])
    assert pinned == f"ruff=={hook.removeprefix('v')}"
    assert f"\n{pinned}\n" in (ROOT / "requirements.txt").read_text("utf-8")


def test_lock_fits_the_ranges():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    # setuptools: the package is installed without a build environment of its own.
    wanted = [*project["dependencies"], "setuptools>=77"]
    wanted += [need for extra in ("notebooks", "book", "test", "grading") for need in extras[extra]]
    for need in map(Requirement, wanted):
        if need.name == "segcourse":
            continue
        locked = [pin for pin in pins if pin.name == need.name]
        assert locked, f"{need.name} is not in requirements.txt: make lock"
        for pin in locked:
            (exact,) = pin.specifier
            assert need.specifier.contains(exact.version), f"{pin} is outside {need}: make lock"


def test_address_is_the_same_everywhere():
    for name in ("pyproject.toml", "_config.yml", "CITATION.cff", "README.md"):
        assert ADDRESS in (ROOT / name).read_text("utf-8"), f"{name} lacks {ADDRESS}"
    for path in tracked_files():
        if path.suffix in (".py", ".md", ".toml", ".yml", ".cff", ".ipynb", ".html", ".js"):
            for owner in re.findall(r"github\.com/([\w.-]+)/segcourse\b", path.read_text("utf-8")):
                assert owner == "segcourse", f"{path.name} names {owner}/segcourse"


def test_commands_in_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    text = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/gpu.md"))
    named = set(re.findall(r"^\s*make ([a-z]+)|`make ([a-z]+)", text))
    missing = {name for pair in named for name in pair if name} - targets
    assert not missing


# ---- pages


def test_pages_are_in_the_order_of_the_course():
    places = [CHAPTERS.index(page) for page in PAGES]
    assert places == sorted(places)


def test_every_notebook_is_a_page():
    assert {path.stem for path in NOTEBOOKS} <= set(PAGES)


@pytest.mark.parametrize("stem", [page for page in PAGES if page in CHAPTERS[1:9]])
def test_chapter_is_one_stem(stem):
    if not (ROOT / "book" / f"{stem}.ipynb").exists():
        pytest.skip("the page is not there yet")
    module = PACKAGE / f"{stem}.py"
    assert module.exists()
    assert (ROOT / "tests" / f"test_{stem}.py").exists()
    assert f"book/{stem}.ipynb" in ast.get_docstring(ast.parse(module.read_text("utf-8")))
    page = "".join(source(cell) for cell in code_cells(ROOT / "book" / f"{stem}.ipynb"))
    assert re.search(rf"segcourse\.{stem}\b|segcourse import .*\b{stem}\b", page)


def test_pages_named_in_the_code_are_pages_of_the_course():
    for path in MODULES:
        for stem in re.findall(r"book/(\w+)\.ipynb", path.read_text("utf-8")):
            assert stem in CHAPTERS, f"{path.name} names book/{stem}.ipynb"


def test_book_executes_nothing_by_itself():
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert config["execute"]["execute_notebooks"] == "off"


@every_notebook
def test_notebook_is_as_the_executor_saves_it(path, tmp_path):
    from tools import notebooks

    notebooks.write(notebooks.normalise(notebooks.read(path)), tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes(), "run: make notebooks"


@every_notebook
def test_notebook_has_been_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)


@every_notebook
def test_notebook_has_no_empty_output(path):
    for cell in code_cells(path):
        for output in cell["outputs"]:
            content = output.get("text") or output.get("data")
            assert content, f"an output without content in: {source(cell)[:80]}"


@every_notebook
def test_first_cell_installs_the_package(path):
    first = source(code_cells(path)[0])
    assert "pip" in first
    assert ADDRESS in first
    assert first == source(code_cells(NOTEBOOKS[0])[0]), "the cell is the same on every page"


@every_notebook
def test_code_cells_are_short_and_print_by_what_they_return(path):
    for cell in code_cells(path)[1:]:
        lines = [line.strip() for line in source(cell).splitlines()]
        code = [line for line in lines if line and not line.startswith("#")]
        if code and not code[0].startswith("quiz("):  # a question and its reasons are text
            assert len(code) < 15, f"{len(code)} lines: {code[0]}"
        # nbval runs a cell without history, and there a semicolon silences nothing.
        assert not (code and code[-1].endswith(";")), f"give it a name instead: {code[-1]}"


@every_notebook
def test_no_path_of_a_machine_is_in_a_page(path):
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        outputs = cell.get("outputs", [])
        texts = [source(cell)] + ["".join(output.get("text", "")) for output in outputs]
        texts += ["".join(output.get("data", {}).get("text/plain", "")) for output in outputs]
        found = re.findall(
            r"(?<![\w.])(?:/home|/root|/Users|/tmp|/work)/\S+|[A-Z]:\\\S+", " ".join(texts)
        )
        assert not found, found


def test_no_pixel_of_a_data_set_is_in_the_repository():
    names = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_|\.(tif|tiff|npy|npz|mat|pt|pth)$")
    assert not [path for path in tracked_files() if names.search(path.name)]


def test_readme_lists_every_module_of_the_package():
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in sorted(PACKAGE.iterdir()):
        if path.name.startswith("__") or not (
            path.suffix == ".py" or (path / "__init__.py").exists()
        ):
            continue
        name = f"segcourse/{path.name}" + ("/" if path.is_dir() else "")
        assert f"[`{name}`]({name})" in readme, f"README.md has no line for {name}"


def test_no_file_is_large():
    large = [p for p in tracked_files() if p.stat().st_size > 9_000_000]
    assert not large
