"""Networks from waveforms to unit embeddings, and what is built directly on them.

Every encoder is `voxcert.encoders.NAME`, which is also how configs and checkpoints name it; it is imported on first
use, since some of them need large libraries.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
