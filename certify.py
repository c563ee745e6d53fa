"""Certify: `python certify.py --checkpoint DIR --config configs/certify/librispeech.yaml` (see `--help`)."""

from voxcert.cli.certify import certify

if __name__ == "__main__":
    certify(program="python certify.py")
