"""Imports only go down in rank; rooms of one rank never import each other."""

import ast
import sys
from pathlib import Path

import pytest

import voxcert

SOURCE = Path(voxcert.__file__).parent
RANK = {
    "rows": 0,
    "columns": 0,
    "data": 0,
    "encoders": 1,
    "smoothing": 2,
    "attacks": 2,
    "purifiers": 2,
    "evaluation.run": 3,
    "evaluation.show": 3,
    "evaluation.metrics": 3,
    "evaluation.certification": 4,
    "evaluation.inversion": 4,
    "evaluation.purification": 4,
    "evaluation.attack": 5,
    "evaluation.hearing": 5,
    "evaluation.planning": 5,
    "evaluation.verification": 5,
    "evaluation.defence": 6,
    "evaluation.cards": 7,
    "evaluation.report": 7,
    "deployment": 7,
    "evaluation.audit": 8,
    "training": 8,
    "cli": 9,
}
"""Room -> rank; a file belongs to the longest name that fits."""
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room(module):
    """The room of a dotted module below voxcert; None of a package that only holds rooms."""
    parts = module.split(".")
    return next((name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in RANK), None)


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


def wrong_imports(here, modules):
    """Those of the modules that a file in the room `here` may not import."""
    for module in modules:
        package, _, rest = module.partition(".")
        if package == "voxcert" and rest:
            there = room(rest)
            if there is None or (there != here and RANK[there] >= RANK[here]):
                yield module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path):
    here = room(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    assert here is not None or path == SOURCE / "evaluation" / "__init__.py", f"{path} is in no room"
    assert list(wrong_imports(here, imported_modules(path))) == []


def test_imports_up_and_to_siblings_are_found():
    wrong = ["voxcert.evaluation.inversion.row", "voxcert.evaluation.attack"]
    right = ["voxcert.evaluation.show.tables", "json"]
    assert list(wrong_imports("evaluation.certification", wrong + right)) == wrong
    assert list(wrong_imports("data", ["voxcert.rows"])) == ["voxcert.rows"], "the rooms of rank 0 know no other"


def test_rooms_have_doors():
    for name in RANK:
        path = SOURCE.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name


def test_nothing_lies_in_the_hall():
    assert [path.name for path in (SOURCE / "evaluation").glob("*.py")] == ["__init__.py"]


def test_rows_need_the_standard_library_only():
    assert {module.partition(".")[0] for module in imported_modules(SOURCE / "rows.py")} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted((SOURCE / "smoothing").rglob("*.py")), ids=lambda path: path.name)
def test_smoothing_needs_only_numerical_libraries(path):
    allowed = {"torch", "numpy", "scipy", "voxcert"} | set(sys.stdlib_module_names)
    assert {module.partition(".")[0] for module in imported_modules(path)} <= allowed
