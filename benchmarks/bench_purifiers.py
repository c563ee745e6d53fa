"""How much nearer one-shot denoising brings noisy speech to clean speech, and how fast it is; into a checkpoint's card.

SI-SDR in dB of the test items before and after, mean and its standard error, at each sigma; forwards of 3 s a second on
one thread, by processor time.
"""

import argparse
import time

import torch
from jsonargparse import ArgumentParser
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from voxcert.data import SpeakerDataModule
from voxcert.encoders.checkpoint import read_card, write_card
from voxcert.purifiers import OneShotDenoiser, Purifier, load_purifier

BATCH = 16


def read(config: str) -> Tensor:
    """The test items of a data config, shape (items, time)."""
    parser = ArgumentParser()
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    items = parser.instantiate(parser.parse_args(["--data", config])).data.items("test")
    return torch.stack([items[index]["waveform"] for index in range(len(items))])


@torch.inference_mode()
def measure(purifier: Purifier, clean: Tensor, sigma: float) -> dict[str, float]:
    """SI-SDR before and after denoising noise of sigma."""
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    denoiser = OneShotDenoiser(purifier, sigma)
    denoised = torch.cat([denoiser(batch) for batch in noisy.split(BATCH)])
    before, after = si_sdr(noisy, clean), si_sdr(denoised, clean)
    gain = after - before
    error = float(gain.std()) / len(gain) ** 0.5
    means = {"noisy": float(before.mean()), "denoised": float(after.mean()), "gain": float(gain.mean())}
    return {"sigma": sigma, **{name: round(value, 2) for name, value in (means | {"error": error}).items()}}


@torch.inference_mode()
def forwards_per_second(purifier: Purifier, repeats: int = 5) -> float:
    """Of one-shot denoising of 3 s, in batches."""
    denoiser, noise, times = OneShotDenoiser(purifier, 0.1), 0.1 * torch.randn(BATCH, 48_000), []
    for _ in range(repeats):
        start = time.process_time()
        denoiser(noise)
        times.append(time.process_time() - start)
    return BATCH / min(times)


def main() -> None:
    """Measures a checkpoint, prints a table and keeps it in the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", default="configs/data/librispeech_purifier.yaml")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.01, 0.05, 0.1, 0.25])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    purifier, clean = load_purifier(arguments.checkpoint), read(arguments.data)
    rows = [measure(purifier, clean, sigma) for sigma in arguments.sigmas]
    speed = round(forwards_per_second(purifier))
    print("| sigma | noisy, dB | denoised, dB | gain, dB |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['sigma']:g} | {row['noisy']} | {row['denoised']} | {row['gain']} ± {row['error']} |")
    print(f"\n{len(clean)} items of {arguments.data}; {speed} forwards of 3 s a second on one thread")
    card = read_card(arguments.checkpoint)
    command = f"python benchmarks/bench_purifiers.py {arguments.checkpoint}"
    card["metrics"] = [{"command": command, "items": len(clean), "si_sdr": rows, "forwards_per_second": speed}]
    write_card(arguments.checkpoint, card)


if __name__ == "__main__":
    main()
