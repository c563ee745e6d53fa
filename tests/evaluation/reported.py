"""Runs for the tests of the page, made by the commands that users type, and a reader of the page."""

import json
from html.parser import HTMLParser
from pathlib import Path

import soundfile
import torch
import yaml

from voxcert.cli import main
from voxcert.cli.certify import certify

SECONDS = 0.5
SIGMA = 0.01


def make_voices(folder):
    """Four speakers with three recordings each: harmonics of their own pitch in noise; one sounds like another."""
    generator, length = torch.Generator().manual_seed(0), int(SECONDS * 16_000)
    seconds = torch.arange(length) / 16_000
    for number in range(4):
        (folder / f"speaker{number}").mkdir(parents=True)
        for take in range(3):
            pitch = 90 + 60 * (number if (number, take) != (3, 2) else 0)
            tone = sum(torch.sin(2 * torch.pi * pitch * k * seconds) / k for k in range(1, 20))
            waveform = 0.05 * tone + 0.005 * torch.randn(length, generator=generator)
            soundfile.write(folder / f"speaker{number}" / f"{take}.wav", waveform.numpy(), 16_000)
    return folder


def make_runs(folder, checkpoint, voices):
    """An identification, a verification, an attack on what was certified, and one on the bare encoder that is kept."""
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(voices)}}
    data = {"corpus": corpus, "num_test_speakers": 4, "num_enroll": 1, "crop_seconds": SECONDS}
    common = {"checkpoint": str(checkpoint), "accelerator": "cpu", "batch_size": 16, "data": data}
    smoothed = common | {"sigma": SIGMA, "num_select": 8, "num_estimate": 64, "enroll_noise": 0}
    rules = ["vote", "distribution", "published_mean"]
    pgd = {"class_path": "voxcert.attacks.pgd", "init_args": {"epsilon": 0.1, "norm": "l2", "steps": 3}}
    attacks = common | {"attack": pgd, "targeted": False}
    runs = {
        "certified": smoothed | {"rules": rules, "radii": [0, 0.005, 0.01]},
        "verified": smoothed | {"task": "verification", "radii": [0, 0.005, 0.01]},
        "attacked": attacks
        | {"radii": [0.005, 0.1], "sigma": SIGMA, "decision": "vote", "num_noise": 2, "num_eval": 16}
        | {"certified": str(folder / "certified")},
        "bare": attacks | {"radii": [0.05, 0.5], "keep": "flac", "certified": str(folder / "certified")},
    }
    for name, settings in runs.items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings | {"output_dir": str(folder / name)}))
        command = ["--config", str(path)]
        main(["attack", *command]) if "attack" in settings else certify(command)
    return [folder / name for name in runs]


def lines_of(folder):
    """Rows as plain JSON, without any code of the package."""
    return [json.loads(line) for line in (Path(folder) / "rows.jsonl").read_text().splitlines()]


class Page(HTMLParser):
    """What a browser would read of a page.

    Attributes:
        tables: Id of a table's figure -> cells, the heading first.
        figures: What the figures draw.
        text: All text that is shown.
        links: Addresses in `src` and `href`.
    """

    def __init__(self, text):
        super().__init__()
        self.tables, self.figures, self.text, self.links = {}, {}, "", []
        self._id = self._script = None
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Notes where it is."""
        values = dict(attributes)
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag == "figure" and values.get("class") == "table":
            self._id = values["id"]
            self.tables[self._id] = []
        elif tag == "tr":
            self.tables[self._id].append([])
        elif tag in ("th", "td"):
            self.tables[self._id][-1].append("")
            self._in_cell = True
        elif tag in ("script", "style"):
            self._script = values.get("id", tag)

    def handle_endtag(self, tag):
        """Leaves it."""
        if tag in ("th", "td"):
            self._in_cell = False
        elif tag in ("script", "style"):
            self._script = None

    def handle_data(self, data):
        """Keeps text where it belongs."""
        if self._script == "figures":
            self.figures = json.loads(data)
        elif self._script is None:
            self.text += data
            if self._in_cell:
                self.tables[self._id][-1][-1] += data
