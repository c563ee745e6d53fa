"""Speaker recognition with proved robustness: train, certify, attack, purify."""

from voxcert.encoders.loading import load_encoder

__all__ = ["load_encoder"]
__version__ = "0.1.0"
