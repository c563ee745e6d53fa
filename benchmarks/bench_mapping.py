"""How near a voice from model inversion comes to its speaker in another encoder's space: the hand-off to synthesis.

A mapping (`voxcert.training.speaker_mapping`) is learnt from stretches of speech that both networks embed, and measured
on stretches that it learnt, on speakers that it did not, and on what `voxcert invert` made of the victim's classifier.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from voxcert import load_encoder
from voxcert.data import LibriSpeech
from voxcert.data.enrollment import by_speaker
from voxcert.training.speaker_mapping import fit_mapping


@torch.no_grad()
def embed_pairs(victim, other, utterances: dict, samples: int) -> tuple[Tensor, Tensor, list[str]]:
    """Unit d-vectors and embeddings of stretches of speech, and whose they are."""
    d_vectors, embeddings, speakers = [], [], []
    for speaker, own in tqdm(utterances.items(), "embedding", unit="speaker", leave=False):
        for waveform in (one.load() for one in own):
            stretches = waveform.unfold(0, samples, samples) if len(waveform) >= samples else waveform[None]
            d_vectors.append(victim(stretches))
            embeddings.append(other(stretches))
            speakers += [speaker] * len(stretches)
    return torch.cat(d_vectors), torch.cat(embeddings), speakers


def nearness(mapped: Tensor, speakers: list[str], centres: dict[str, Tensor]) -> dict[str, float]:
    """Mean cosine to the own speaker's centre and to the others', and how often the own one is the nearest."""
    names = list(centres)
    cosines = F.normalize(mapped, dim=-1) @ torch.stack([centres[name] for name in names]).T
    own = torch.tensor([names.index(speaker) for speaker in speakers])
    is_own = F.one_hot(own, len(names)).bool()
    hits = (cosines.argmax(dim=1) == own).float().mean()
    return {"own": float(cosines[is_own].mean()), "others": float(cosines[~is_own].mean()), "nearest": float(hits)}


def main() -> None:
    """Learns the mapping, measures it, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="output folder of `voxcert invert` against the victim")
    parser.add_argument("--victim", default="checkpoints/sincnet-mini")
    parser.add_argument("--other", default="checkpoints/ecapa-mini", help="the synthesiser's encoder")
    parser.add_argument("--librispeech", default="data/librispeech")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a stretch of speech")
    parser.add_argument("--held_out", type=int, default=20, help="every so manieth speaker is not learnt from")
    parser.add_argument("--output", default="benchmarks/results/mapping-cpu.json")
    args = parser.parse_args()
    victim, other = load_encoder(args.victim), load_encoder(args.other)
    utterances = by_speaker(LibriSpeech(args.librispeech, parts=["train-clean-100"]).utterances())
    d_vectors, embeddings, speakers = embed_pairs(victim, other, utterances, int(16_000 * args.seconds))
    owners = torch.tensor([list(utterances).index(speaker) for speaker in speakers])
    centres = {
        name: F.normalize(embeddings[owners == index].mean(dim=0), dim=-1) for index, name in enumerate(utterances)
    }
    unheard = owners % args.held_out == 0
    mapping = fit_mapping(d_vectors[~unheard], embeddings[~unheard])
    results = {
        "victim": args.victim,
        "other": args.other,
        "pairs": int((~unheard).sum()),
        "unheard": int(unheard.sum()),
    }
    with torch.no_grad():
        for name, rows in (("speech, learnt", ~unheard), ("speech, unheard speakers", unheard)):
            whose = [speaker for speaker, chosen in zip(speakers, rows.tolist(), strict=True) if chosen]
            results[name] = nearness(mapping(d_vectors[rows]), whose, centres)
        with safe_open(Path(args.run) / "inverted.safetensors", "pt") as file:
            names = json.loads(file.metadata()["speakers"])
            for key in (key for key in file.keys() if key.startswith("d_vectors/")):
                results[f"inverted, {key.removeprefix('d_vectors/')}"] = nearness(
                    mapping(file.get_tensor(key)), names, centres
                )
    for name, measured in results.items():
        if isinstance(measured, dict):
            print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in measured.items()))
    Path(args.output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
