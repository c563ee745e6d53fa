"""Speaker recognition with proved robustness: train, certify, attack, purify.

What most programs need is offered here and imported when it is asked for (PEP 562): `import voxcert` alone starts
nothing, so that a command line can say what it is for without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; the program takes them from HOMES
    from voxcert import attacks, data, encoders, purifiers, smoothing
    from voxcert.encoders.base import Recognizer, enroll
    from voxcert.encoders.loading import load_encoder
    from voxcert.purifiers.checkpoint import load_purifier
    from voxcert.smoothing.certifier import Certifier

__all__ = [
    "Certifier",
    "Recognizer",
    "attacks",
    "data",
    "encoders",
    "enroll",
    "load_encoder",
    "load_purifier",
    "purifiers",
    "smoothing",
]
__version__ = "0.1.0"

HOMES = {
    "Certifier": "voxcert.smoothing.certifier",
    "Recognizer": "voxcert.encoders.base",
    "enroll": "voxcert.encoders.base",
    "load_encoder": "voxcert.encoders.loading",
    "load_purifier": "voxcert.purifiers.checkpoint",
}
"""Public class or function -> the module that has it; what else is public is a package."""


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(HOMES[name]), name) if name in HOMES else import_module(f"{__name__}.{name}")
    globals()[name] = found  # the next access does not come here
    return found


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
