"""Model cards: what a checkpoint was trained on and what was measured, with the command that measured it.

`card.json` holds the facts and README.md renders them in the form of the Hugging Face hub (YAML front matter first).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from voxcert.data.identity import plan_hash, read_plan
from voxcert.encoders.checkpoint import checkpoint_hash, read_card, write_card
from voxcert.encoders.privacy import without_places
from voxcert.evaluation.certification.tables import TABLE_NOTE, markdown_table
from voxcert.evaluation.defence.encoder import encoder_of
from voxcert.evaluation.run.folder import PLAN, read_summary

KNOWN_DATA = {
    "LibriSpeech": ("openslr/librispeech_asr", "LibriSpeech (Panayotov et al. 2015, OpenSLR 12), CC BY 4.0"),
    "VoxCeleb": ("ProgramComputer/voxceleb", "VoxCeleb (Nagrani et al. 2017, Chung et al. 2018), CC BY 4.0"),
}
"""Corpus class -> dataset on the hub, and the credit that its licence asks for."""

KEPT = ("command", "settings", "num_utterances", "num_speakers", "rules")
"""Of the summary of a run that certified the naming of speakers; others have no rules."""

FORMERLY = {"num_capped": 0}
"""What older cards do not say of a rule; what is `acr_plug_in` now they call acr_point."""


def add_metrics(folder: str, runs: Iterable[str], remark: str | None = None) -> dict[str, Any]:
    """Adds what certification runs measured to the card of a checkpoint, and renders its README.md again.

    Args:
        folder: Checkpoint folder.
        runs: Output folders of `certify`. A run of the settings and the data of one that the card has takes its place.
        remark: What readers should know about the numbers, such as that a recipe was chosen on these recordings; an
            empty one removes what is there, null keeps it.

    Returns:
        The card.

    Raises:
        ValueError: If a run has no summary (it was not finished), did not certify the naming of speakers, is one
            shard of several, or measured other weights.
    """
    card = read_card(folder)
    for run in runs:
        summary = read_summary(run)
        if not {*KEPT, "checkpoint_hash"} <= summary.keys():
            raise ValueError(f"runs must be of certify.py with the task identification, got {run}")
        if (num_shards := summary["settings"].get("num_shards", 1)) > 1:
            raise ValueError(
                f"runs must be whole, got {run}, which is shard {summary['settings'].get('shard')} of {num_shards}: "
                "put all shards together with `voxcert recertify` first"
            )
        if encoder_of(summary["checkpoint_hash"]) != checkpoint_hash(folder):
            raise ValueError(
                f"runs must have measured {folder} (hash {checkpoint_hash(folder)}), "
                f"got {run} with the hash {summary['checkpoint_hash']}"
            )
        entry = without_places({key: summary[key] for key in KEPT} | {"num_made_up": summary.get("num_made_up", 0)})
        if (Path(run) / PLAN).is_file():
            entry["data"] = plan_hash(read_plan(Path(run) / PLAN))
        card["metrics"] = [*(old for old in card["metrics"] if not _is_same(old, entry)), entry]
    if remark is not None:
        card["remark"] = remark
    write_card(folder, card)
    write_readme(folder)
    return card


def _is_same(old: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Whether two runs asked the same; settings without places may name two corpora alike, older entries no data."""
    data = {one["data"] for one in (old, entry) if "data" in one}
    return old["settings"] == entry["settings"] and len(data) < 2


def write_readme(folder: str | Path) -> None:
    """Renders README.md of a checkpoint folder from its card.json."""
    folder = Path(folder)
    place = os.path.relpath(folder)
    place = folder.absolute().name if place.startswith(".") else Path(place).as_posix()
    (folder / "README.md").write_text(render(place, read_card(folder)))


DATA = {True: "DIR is a LibriSpeech", False: "DIR holds one folder per speaker; docs/data.md has other ways"}
"""Of the command in a README: as the encoder was trained where that was on LibriSpeech, else on anybody's own data."""


ENCODER = (
    "A speaker encoder (16 kHz waveform to unit embedding) for certified speaker recognition by randomized smoothing"
)
CLASSIFIER = "An identification network: it names the speakers that it was trained on, and gives embeddings of anybody"
"""What a checkpoint is; the card of an identification network has a digest of the speakers that it names."""


TEMPLATE = """---
{front}---

# {name}

{what}, {millions:.2f} M parameters.

```python
import voxcert

# waveform (batch, time) in [-1, 1] -> embedding (batch, dim)
encoder = voxcert.load_encoder("{place}")
```

Certify it on your speakers ({data}; `python certify.py --help` shows more):

```bash
python certify.py --checkpoint {place} --config configs/certify/librispeech.yaml \\
  {options}--data.corpus.root DIR --output_dir runs/mine
```

## Training

{training}

## Certified robustness

{measured}
"""


def render(place: str, card: dict[str, Any]) -> str:
    """Renders a model card.

    Args:
        place: The checkpoint folder, as a command names it.
        card: What `card.json` holds.
    """
    corpus = _corpus(card["training"].get("data", {}).get("corpus"))
    dataset, credit = KNOWN_DATA.get(corpus, (None, None))
    front = {
        "license": card["license"],
        "library_name": "voxcert",
        **({"language": "en"} if dataset else {}),
        "tags": ["speaker-recognition", "speaker-identification", "randomized-smoothing", "certified-robustness"],
        **({"datasets": [dataset]} if dataset else {}),
        "metrics": ["accuracy"],
    }
    facts = _training_facts(card["training"], card["attribution"] or credit)
    measured = [TABLE_NOTE, *map(_measured, card["metrics"])] if card["metrics"] else ["Not measured yet."]
    measured = [*([card["remark"]] if card.get("remark") else []), *measured]
    return TEMPLATE.format(
        front=yaml.safe_dump(front, sort_keys=False),
        name=Path(place).name,
        what=CLASSIFIER if "classes" in card["training"] else ENCODER,
        place=place,
        data=DATA[corpus == "LibriSpeech"],
        options="" if corpus == "LibriSpeech" else "--data configs/data/folders.yaml ",
        millions=card["parameters"] / 1e6,
        training="\n".join(f"- {fact}" for fact in facts) or "Not recorded.",
        measured="\n\n".join(measured),
    )


def _training_facts(training: dict[str, Any], credit: str | None) -> list[str]:
    facts = [training["source"]] if "source" in training else []
    model = training.get("model", {})
    if model.get("init_from"):
        facts.append(f"started from: {Path(model['init_from']).name}")
    if model.get("distillation"):
        teacher = model["distillation"].get("init_args", {}).get("teacher")
        facts.append(f"teacher: {Path(teacher).name if teacher else 'a copy of itself as it started'}")
    if "data" in training:
        parts = training["data"].get("train_parts")
        held_out = training["data"].get("num_val_speakers")
        facts.append(f"data: {_describe(training['data'].get('corpus'))}" + (f", {', '.join(parts)}" if parts else ""))
        facts += [f"speakers held out of that data for validation: {held_out}"] if held_out else []
        facts.append(f"noise added to the waveforms: {_describe(training['noise']) or 'none'}")
    if credit:
        facts.append(f"credit: {credit}")
    if "steps" in training:
        averaged = ", weights averaged over training" if training["averaged"] else ""
        facts.append(f"steps: {training['steps']}, epochs: {training['epochs']}{averaged}")
    if "stored" in training:
        facts.append(f"weights: stored in {training['stored']}, loaded as float32")
    if "command" in training:
        facts.append(f"command: `{training['command']}`")
    return facts


def _measured(entry: dict[str, Any]) -> str:
    settings = entry["settings"]
    named = settings.get("purifier") or settings.get("purifier.class_path")
    behind = f"Behind the purifier {named}: " if named else ""
    made_up = f" ({entry['num_made_up']} of them made up)" if entry.get("num_made_up") else ""
    noise_at, precision = settings.get("noise_at", "waveform"), settings.get("precision", 32)
    where = "" if noise_at == "waveform" else f" at the {noise_at} (radii are about these, not about waveforms)"
    numbers = "" if precision == 32 else f", computed in {precision}"
    facts = (
        f"{behind}{entry['num_utterances']} utterances, {entry['num_speakers']} speakers enrolled{made_up}, "
        f"sigma {settings['sigma']:g}{where}, alpha {settings['alpha']:g}, n = {settings['num_estimate']}{numbers}."
    )
    rules = {rule: FORMERLY | {"acr_plug_in": old.get("acr_point")} | old for rule, old in entry["rules"].items()}
    return f"```bash\n{entry['command']}\n```\n\n{facts}\n\n{markdown_table(rules)}"


def _corpus(value: Any) -> str:
    """Class of the corpus, also of one inside another, such as a TimeSplit."""
    inner = (value.get("init_args") or {}).get("corpus") if isinstance(value, dict) else None
    return _corpus(inner) if inner else _class_name(value)


def _class_name(value: Any) -> str:
    return value["class_path"].rpartition(".")[2] if isinstance(value, dict) and "class_path" in value else ""


def _describe(value: Any) -> str:
    """`{"class_path": "a.b.Uniform", "init_args": {"low": 0}}` as `Uniform(low=0)`."""
    if not _class_name(value):
        return ""
    arguments = {key: item for key, item in (value.get("init_args") or {}).items() if item is not None}
    if corpora := arguments.get("corpora"):
        return " and ".join(f"{name}: {_describe(corpus)}" for name, corpus in corpora.items())
    return f"{_class_name(value)}({', '.join(f'{key}={item!r}' for key, item in arguments.items())})"
