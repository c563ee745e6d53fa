"""What reading a recording is beside embedding its noisy copies: the share of a certification that waits for audio.

Both are processor time, user's and system's, which does not depend on what else the machine does as much as wall-clock
time does.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from voxcert.data import LibriSpeech, SpeakerDataModule
from voxcert.encoders import load_encoder
from voxcert.evaluation.run.processes import keep_freed_memory
from voxcert.smoothing import Certifier


def main() -> None:
    """Prints milliseconds a recording and a copy, and the share of reading at some numbers of copies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="Where LibriSpeech is.")
    parser.add_argument("--checkpoint", default="checkpoints/ecapa-mini")
    parser.add_argument("--utterances", type=int, default=4, help="Certified, and as many again read before.")
    parser.add_argument("--copies", type=int, default=128)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    encoder = load_encoder(given.checkpoint)
    items = SpeakerDataModule(LibriSpeech(given.root), test_parts=["test-other"]).items("test")
    prototypes = torch.eye(encoder.dim)[:2]
    settings = {"sigma": 0.01, "num_select": 32, "num_estimate": given.copies, "batch_size": 32, "rules": ["vote"]}
    certifier = Certifier(encoder, prototypes, **settings)
    certifier.certify(items[0]["waveform"])  # which probes the encoder
    start = time.process_time()
    heard = [items[index] for index in range(len(items))]
    read = (time.process_time() - start) / len(items)
    start = time.process_time()
    rows = [certifier.certify(one["waveform"], one["utterance"])[0] for one in heard[: given.utterances]]
    copy = (time.process_time() - start) / sum(row.num_forwards for row in rows)
    found = {"recordings read": len(items), "read ms": 1000 * read, "copy ms": 1000 * copy}
    found["share"] = {str(count): read / (read + count * copy) for count in (100, 1000, 10_000)}
    print(json.dumps(found, indent=2))
    (Path(__file__).parent / "results" / "reading-cpu.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
