"""Trains SincNet as `IdentificationModule` does, several times faster, for machines without an accelerator.

With the input's normalisation and the sinc filters frozen, the first layer of a chunk is that of its recording divided
by the chunk's deviation (up to the chunk's mean, which filters all but remove). So it is computed once for every
recording and kept; chunks begin at multiples of three samples, where pooling begins.
"""

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from voxcert.data import LibriSpeech, TimeSplit
from voxcert.encoders.checkpoint import build_encoder, read_pickled, save_checkpoint
from voxcert.encoders.loading import load_weights
from voxcert.encoders.sincnet import SincNet
from voxcert.encoders.sincnet_network import POOL


@torch.no_grad()
def first_layer(network: SincNet, waveform: Tensor) -> Tensor:
    """Pooled magnitudes of a recording (time,) behind the sinc filters: (filters, time // 3), in half precision."""
    return F.max_pool1d(network.cnn.conv[0](waveform[None, None]).abs(), POOL)[0].half()


def log_posteriors(network: SincNet, pooled: Tensor) -> Tensor:
    """Log-posteriors of normalised first layers (batch, filters, frames)."""
    x = F.leaky_relu(network.cnn.ln[0](pooled), 0.2)
    for convolution, norm in zip(network.cnn.conv[1:], network.cnn.ln[1:], strict=True):
        x = F.leaky_relu(norm(F.max_pool1d(convolution(x), POOL)), 0.2)
    return network.classify(network.dnn1(x.flatten(1)))


def main() -> None:
    """Trains and writes a checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="checkpoint folder to write")
    parser.add_argument("--encoder", default="configs/encoder/sincnet_mini.yaml")
    parser.add_argument("--librispeech", default="data/librispeech")
    parser.add_argument("--init_from", help="checkpoint folder, or Lightning checkpoint, to start from")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3, help="of RMSprop; a half cosine leads to a hundredth")
    args = parser.parse_args()
    torch.manual_seed(0)
    network = build_encoder(yaml.safe_load(Path(args.encoder).read_text()))
    if args.init_from and args.init_from.endswith(".ckpt"):
        state = read_pickled(Path(args.init_from))["state_dict"]
        blocks = {name.removeprefix("encoder."): value for name, value in state.items() if "dnn2" not in name}
        network.load_state_dict(blocks, strict=False)  # other speakers, another classifier
        network.cnn.ln0.gamma.data.fill_(1), network.cnn.ln0.beta.data.zero_()  # what the first layer kept assumes
    elif args.init_from:
        load_weights(network, args.init_from)
    num_speakers = network.config["init_args"]["num_classes"]
    corpus = TimeSplit(LibriSpeech(args.librispeech, parts=["train-clean-100"]), num_speakers=num_speakers)
    utterances = [one for one in corpus.utterances() if one.part == "early"]
    speakers = sorted({one.speaker for one in utterances})
    waveforms = [one.load() for one in utterances]
    labels = torch.tensor([speakers.index(one.speaker) for one in utterances])
    kept = [first_layer(network, waveform) for waveform in waveforms]
    frames = network.cnn.ln[0].gamma.shape[1]
    size, generator = network.chunk_samples, torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor]:
        chosen, pooled = torch.randint(len(kept), (args.batch_size,), generator=generator), []
        for index in chosen.tolist():
            spare = (len(waveforms[index]) - size) // POOL
            start = int(torch.randint(spare + 1, (), generator=generator))
            deviation = waveforms[index][POOL * start : POOL * start + size].std() + 1e-6
            pooled.append(kept[index][:, start : start + frames].float() / deviation)
        return torch.stack(pooled), labels[chosen]

    trained = [
        weight
        for part in (network.cnn.conv[1:], network.cnn.ln, network.dnn1, network.dnn2)
        for weight in part.parameters()
    ]
    optimizer = torch.optim.RMSprop(trained, lr=args.lr, alpha=0.95, eps=1e-8)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.01 + 0.99 * (1 + math.cos(math.pi * step / args.steps)) / 2
    )
    network.train()
    begin, losses, errors = time.perf_counter(), [], []
    for step in range(1, args.steps + 1):
        pooled, label = batch()
        prediction = log_posteriors(network, pooled)
        loss = F.nll_loss(prediction, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        errors.append(float((prediction.argmax(dim=-1) != label).float().mean()))
        if step % 50 == 0:
            rate = f"{time.process_time():.0f} s of CPU, {time.perf_counter() - begin:.0f} s"
            print(
                f"step {step}: loss {sum(losses) / len(losses):.3f}, error {sum(errors) / len(errors):.3f}, {rate}",
                flush=True,
            )
            losses, errors = [], []
        if step % 500 == 0 or step == args.steps:
            settings = {"steps": step, "lr": args.lr, "batch_size": args.batch_size, "init_from": bool(args.init_from)}
            card = {
                "license": "apache-2.0",
                "parameters": sum(p.numel() for p in network.parameters()),
                "training": {"command": "benchmarks/train_sincnet_mini.py", **settings},
                "attribution": None,
                "metrics": [],
            }
            save_checkpoint(network, args.folder, card)


if __name__ == "__main__":
    main()
