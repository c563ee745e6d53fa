"""What the site adds to the pages of docs/: the first page (README), the changelog, and one API page for every package.

MkDocs calls `on_config` and `on_files`; the rest needs neither MkDocs nor the site, so that tests can call it.
"""

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import voxcert

ROOT = Path(__file__).parents[1]
BORROWED = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Page of the site -> the file of the repository that it is."""
COMMANDS = "voxcert.cli"


def on_config(config):
    """Adds the API pages to the navigation."""
    pages = [{package.__name__: page_of(package.__name__)} for package in public_packages()]
    config.nav.append({"API": pages})
    return config


def on_files(files, config):
    """Adds the pages that are made from something else."""
    from mkdocs.structure.files import File

    for page, text in (borrowed_pages() | api_pages()).items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, **_):
    """Links to what only the repository has lead to the site's own pages of it."""
    return sited(markdown)


def sited(text: str) -> str:
    """A page of docs/ whose links to borrowed files, and to the code of a package, lead to the site's pages."""
    for page, source in BORROWED.items():
        text = text.replace(f"](../{source}", f"]({page}")
    return re.sub(r"\]\(\.\./src/(voxcert(?:/\w+)*)/\w+\.py\)", _api_link, text)


def _api_link(match: re.Match) -> str:
    return f"]({page_of(match[1].replace('/', '.'))})"


def borrowed_pages() -> dict[str, str]:
    """Files of the repository's root as pages; their links are made relative to docs/."""
    pages = {}
    for page, name in BORROWED.items():
        text = (ROOT / name).read_text().replace("](docs/", "](").replace('src="docs/', 'src="')
        for other, source in BORROWED.items():
            text = text.replace(f"]({source})", f"]({other})")
        pages[page] = text
    return pages


def public_packages() -> list[ModuleType]:
    """The packages that have something to describe, `voxcert` first; commands describe themselves."""
    names = [module.name for module in pkgutil.walk_packages(voxcert.__path__, "voxcert.") if module.ispkg]
    packages = [voxcert, *(import_module(name) for name in sorted(names) if name != COMMANDS)]
    return [package for package in packages if public_names(package) or modules_of(package)]


def public_names(package: ModuleType) -> list[str]:
    """The names in `__all__`; none where there is no such list."""
    return list(getattr(package, "__all__", []))


def modules_of(package: ModuleType) -> list[str]:
    """The modules of a package that has no `__all__`: all of what is public in them is."""
    if public_names(package):
        return []
    found = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [module.name for module in found if not module.ispkg and not module.name.rpartition(".")[2].startswith("_")]


def page_of(package: str) -> str:
    """Where a package is described."""
    return f"api/{package}.md"


def api_pages() -> dict[str, str]:
    """One page of Markdown for every public package, with an entry for each name in its `__all__`, or each module."""
    packages = public_packages()
    homes = {}  # a name is described once, in the innermost package that offers it
    for package in packages:
        homes |= {source: package for name in public_names(package) if (source := source_of(package, name))}
    whole = {module: package for package in packages for module in modules_of(package)}
    homes |= {source: whole[module] for source in homes if (module := source.rpartition(".")[0]) in whole}
    return {page_of(package.__name__): _page(package, homes) for package in packages}


def source_of(package: ModuleType, name: str) -> str | None:
    """Import path of the module's own class or function behind a public name; None for a package or a plain value."""
    value = getattr(package, name)
    own = not inspect.ismodule(value) and getattr(value, "__module__", None) or ""
    return f"{own}.{value.__qualname__}" if own.startswith("voxcert") and hasattr(value, "__qualname__") else None


def _page(package: ModuleType, homes: dict[str, ModuleType]) -> str:
    entries = [_entry(package, name, homes) for name in sorted(public_names(package), key=str.lower)]
    entries += [f"::: {module}" for module in modules_of(package)]
    return "\n\n".join([f"# `{package.__name__}`", inspect.getdoc(package) or "", *entries]) + "\n"


def _entry(package: ModuleType, name: str, homes: dict[str, ModuleType]) -> str:
    """The entry of a name: its docstring, or where that stands."""
    value, path = getattr(package, name), f"{package.__name__}.{name}"
    source = source_of(package, name)
    if inspect.ismodule(value):
        return f"## {path} {{ #{path} }}\n\nA package: [{value.__name__}]({value.__name__}.md)."
    if source is None:  # a constant or a type: its docstring is read off the source
        return f"::: {path}"
    if homes[source] is not package:
        summary = inspect.getdoc(value).splitlines()[0]
        return f"## {path} {{ #{path} }}\n\n{summary} [More][{source}]"
    # A module may have the name of a function in it: the anchor says the one, the source the other.
    return f"[](){{ #{path} }}\n\n::: {source}\n    options: {{heading: {path}, toc_label: {name}}}"
