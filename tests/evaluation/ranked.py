"""One process of a certification with several, started as torchrun starts it, to be killed by a test."""

import os
import sys
import time

from lightning.fabric.utilities.rank_zero import rank_zero_only
from toy import LinearEncoder, ToyData

from voxcert.evaluation.certification import CertificationSettings, certify_speakers


def certify(folder: str, devices: int, pause: float) -> None:
    """Certifies 60 utterances and a bad file, with a pause for each forward."""
    encoder, data = LinearEncoder(200).eval(), ToyData(num_per_speaker=15)
    data.tests[-1]["utterance"] = "bad"
    encoder.register_forward_pre_hook(lambda *_: time.sleep(pause))
    options = {"num_select": 10, "num_estimate": 40, "batch_size": 16, "keep_statistics": True}
    options |= {"sigma": 0.05, "accelerator": "cpu", "devices": devices}
    certify_speakers(encoder, data, CertificationSettings(folder, **options))


def certify_as(rank: int, world_size: int, port: int, folder: str, pause: float) -> None:
    """As `certify`, for one rank of several; what it says on stderr is kept beside the folder."""
    log = os.open(f"{folder}.stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stderr.fileno())
    if world_size > 1:
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        os.environ.update({name: str(value) for name, value in ranks.items()})
        rank_zero_only.rank = rank  # which is read from there when Lightning is imported
    certify(folder, world_size, pause)
