"""Speaker recognition with proved robustness: train, certify, attack, purify.

What most programs need is offered here and imported when it is asked for: `import voxcert` alone starts nothing, so
that a command line can say what it is for without waiting for torch. `__init__.pyi` lists the names.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
