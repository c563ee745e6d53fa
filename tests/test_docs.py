"""README and docs/ are true: links lead somewhere, commands parse, Python runs, and every public name is described."""

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

from voxcert.cli import main

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENTRY = re.compile(r"^(?:## |\[\]\(\)\{ #|::: )(voxcert[\w.]*)", flags=re.MULTILINE)
LARGEST_PICTURE = 150_000  # bytes
CONFIGURED = ("certify", "train", "attack", "plan", "audit", "purify", "defend", "invert")
PARSED = ("python certify.py", "python train.py", *(f"voxcert {name}" for name in CONFIGURED))
NAMED = (
    "voxcert export",
    "voxcert card",
    "voxcert recertify",
    "voxcert report",
    "voxcert rows",
    "voxcert hearing",
    "voxcert encoders",
    "voxcert identify",
    "voxcert verify",
    "voxcert serve",
    "voxcert try",
)  # they take no --print_config

spec = importlib.util.spec_from_file_location("site_of_docs", ROOT / "docs" / "site.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)


def prose(text):
    return BLOCK.sub("", text)


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs both make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def links():
    for page in PAGES:
        for target in LINK.findall(prose(page.read_text())):
            if not re.match(r"https?:", target):
                yield pytest.param(page, target, id=f"{page.name}-{target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    found = page if not path else page.parent / path
    assert found.exists(), f"{page.name} links to {path}"
    assert not anchor or anchor in anchors(found), f"{found.name} has no heading #{anchor}"


def test_links_to_the_repository_lead_to_pages_of_the_site():
    text = "[a](../README.md#in-python) [b](../src/voxcert/attacks/audibility.py) [c](certify.md)"
    assert site.sited(text) == "[a](index.md#in-python) [b](api/voxcert.attacks.md) [c](certify.md)"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_row_belongs_to_a_table(page):
    text = BLOCK.sub("", page.read_text())
    tables = re.findall(r"(?:^ *\|.*\n)+", text, flags=re.MULTILINE)
    headless = [table.splitlines()[0] for table in tables if not re.match(r".*\n *\|[ :|-]+\n", table)]
    assert not headless, "a table without a heading, or a blank line in one"


def test_pictures_are_shown_and_small():
    shown = {name for page in PAGES for name in re.findall(r"images/([\w-]+\.png)", page.read_text())}
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert all(path.stat().st_size <= LARGEST_PICTURE for path in (ROOT / "docs" / "images").iterdir())


def commands(starts):
    """Every command on the pages that starts like this, and can be read without a shell."""
    for page in PAGES:
        blocks = (text for language, text in BLOCK.findall(page.read_text()) if language == "bash")
        lines = [line.strip() for text in blocks for line in text.replace("\\\n", " ").splitlines()]
        in_tables = re.findall(r"^\|.*$", prose(page.read_text()), flags=re.MULTILINE)
        lines += [code for row in in_tables for code in re.findall(r"`([^`]+ --[^`]+)`", row)]
        for line in lines:
            if line.startswith(starts) and "$" not in line:
                yield pytest.param(shlex.split(line, comments=True), id=f"{page.name}-{line[:60]}")


@pytest.mark.parametrize("command", list(commands(PARSED)))
def test_a_command_parses(command, monkeypatch, capsys):
    if any(word.startswith("my_") and word.endswith(".yaml") for word in command):
        pytest.skip("a reader's own files: test_extend runs it")
    monkeypatch.chdir(ROOT)
    name, args = (command[1].removesuffix(".py"), command[2:])
    with pytest.raises(SystemExit) as stop:
        main([name, *args, "--print_config"])
    assert stop.value.code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize("command", list(commands(NAMED)))
def test_a_short_command_exists(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command[1], "--help"])
    assert stop.value.code == 0
    known = capsys.readouterr().out
    assert all(word in known for word in command if word.startswith("--"))


def test_python_of_the_first_page_runs_word_for_word():
    pytest.importorskip("espeakng_loader", reason='needs espeak voices: pip install "voxcert[espeak]"')
    (code,) = [text for language, text in BLOCK.findall((ROOT / "README.md").read_text()) if language == "python"]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r"\w[\w-]+, whatever is added with an l2 norm below 0\.0[1-4]\d\d\n", run.stdout)


def declared():
    """Package -> the names in its `__all__`, commands aside."""
    folders = [path.parent.relative_to(SOURCE) for path in sorted((SOURCE / "voxcert").rglob("__init__.py"))]
    packages = [".".join(folder.parts) for folder in folders if folder.parts[:2] != ("voxcert", "cli")]
    found = {package: getattr(import_module(package), "__all__", []) for package in packages}
    return {package: names for package, names in found.items() if names}


def test_every_public_name_has_an_entry():
    pages = site.api_pages()
    assert {f"api/{package}.md" for package in declared()} <= set(pages)
    for package, names in declared().items():
        entries = set(ENTRY.findall(pages[f"api/{package}.md"]))
        assert {f"{package}.{name}" for name in names} <= entries


@pytest.mark.parametrize("path", [f"{package}.{name}" for package, names in declared().items() for name in names])
def test_every_public_name_is_documented(path):
    package, _, name = path.rpartition(".")
    value = getattr(import_module(package), name)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        assert inspect.getdoc(value)


class Loaded(HTMLParser):
    """Collects what a browser would load to show a page: links that a reader may follow are not among it."""

    def __init__(self):
        super().__init__()
        self.urls, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        """Takes what a tag names."""
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.urls.append(attributes.get("src") or "")
        if tag == "link" and attributes.get("rel") not in ("canonical", "next", "prev"):
            self.urls.append(attributes.get("href") or "")


@pytest.mark.slow
def test_the_site_is_whole_and_asks_no_network(tmp_path):
    pytest.importorskip("mkdocstrings", reason="needs the site's builder: make setup")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for path in (tmp_path / "site").rglob("*.html"):
        page = Loaded()
        page.feed(path.read_text())
        assert not [url for url in page.urls if re.match(r"(https?:)?//", url)], path.name
    for path in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", path.read_text()), path.name
    for package, names in declared().items():
        page = Loaded()
        page.feed((tmp_path / "site" / "api" / f"{package}.html").read_text())
        assert {f"{package}.{name}" for name in names} <= page.ids
