"""The examples in docstrings are run, and every public verb has one."""

import doctest
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

import voxcert

ROOT = Path(__file__).parents[1]
VERBS = [
    "encoders.loading.load_encoder",
    "encoders.base.Recognizer",
    "encoders.base.enroll",
    "smoothing.certifier.Certifier",
    "smoothing.certifier.Certifier.certify",
    "deployment.recognizer.SmoothedRecognizer",
    "attacks.gradient.pgd",
    "purifiers.checkpoint.load_purifier",
    "purifiers.filters.MedianFilter",
]


EXTRAS = {"fastapi", "gradio", "prometheus_client", "starlette", "uvicorn"}
"""Libraries without which a module cannot be imported, and which not everyone has."""


def modules():
    """Every module of the package, but for those of an extra that is not installed."""
    for found in pkgutil.walk_packages(voxcert.__path__, "voxcert."):
        try:
            yield import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise


def examples():
    """Every docstring of the package that has an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules():
        for test in finder.find(module):
            if test.examples:
                yield test


EXAMPLES = {test.name.removeprefix("voxcert."): test for test in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # examples load what is in checkpoints/
    report = []
    failed, attempted = doctest.DocTestRunner().run(EXAMPLES[name], out=report.append)
    assert attempted > 0
    assert failed == 0, "".join(report)


def test_every_public_verb_has_an_example():
    assert set(VERBS) <= set(EXAMPLES)
    public = {getattr(voxcert, name) for name in voxcert.__all__} - set(sys.modules.values())
    assert {f"{one.__module__.removeprefix('voxcert.')}.{one.__qualname__}" for one in public} <= set(VERBS)
