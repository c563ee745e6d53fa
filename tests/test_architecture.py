"""Imports only go down in rank; packages of one rank never import each other."""

import ast
import sys
from pathlib import Path

import pytest

import voxcert

SOURCE = Path(voxcert.__file__).parent
RANK = {
    "data": 0,
    "encoders": 1,
    "smoothing": 2,
    "attacks": 2,
    "purifiers": 2,
    "evaluation": 3,
    "training": 4,
    "cli": 5,
}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


def room(parts):
    return parts[0].removesuffix(".py")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path):
    here = room(path.relative_to(SOURCE).parts)
    for module in imported_modules(path):
        package, _, rest = module.partition(".")
        if package == "voxcert" and rest:
            there = room(rest.split("."))
            assert there == here or RANK[there] < RANK[here], f"{path.name} in {here} imports {module}"


@pytest.mark.parametrize("path", sorted((SOURCE / "smoothing").rglob("*.py")), ids=lambda path: path.name)
def test_smoothing_needs_only_numerical_libraries(path):
    allowed = {"torch", "numpy", "scipy", "voxcert"} | set(sys.stdlib_module_names)
    assert {module.partition(".")[0] for module in imported_modules(path)} <= allowed
