"""Cards take what was measured, with its command, and nothing that other weights were measured with."""

from pathlib import Path

import pytest
import torch
import yaml

from voxcert.data.identity import Planned, write_plan
from voxcert.encoders.checkpoint import checkpoint_hash, read_card, save_checkpoint, write_card
from voxcert.encoders.ecapa import ECAPA
from voxcert.evaluation.cards.model_card import add_metrics, render
from voxcert.evaluation.certification.tables import summarize
from voxcert.evaluation.run.folder import write_summary

ROOT = Path(__file__).parents[3]
CARD = {"license": "apache-2.0", "parameters": 1_500_000, "training": {}, "attribution": None, "metrics": []}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    encoder = ECAPA(channels=8, mfa_channels=24, dim=8, attention_channels=4, se_channels=4, res2net_scale=4)
    save_checkpoint(encoder, tmp_path / "mini", CARD)
    return tmp_path / "mini"


@pytest.fixture
def summary(folder, certificate):
    return {
        "command": "python certify.py --checkpoint checkpoints/mini --sigma 0.01",
        "settings": {"sigma": 0.01, "alpha": 1e-3, "num_estimate": 100},
        "checkpoint_hash": checkpoint_hash(folder),
        "num_utterances": 1,
        "num_speakers": 4,
        "rules": summarize([certificate()], [0.0]),
        "timing": {"seconds": 1.0},
    }


def test_metrics_come_with_the_command_that_measured_them(folder, summary, tmp_path):
    write_summary(tmp_path / "run", summary)
    add_metrics(folder, [tmp_path / "run"])
    readme = (folder / "README.md").read_text()
    assert summary["command"] in readme
    assert "| distribution |" in readme
    assert "sigma 0.01, alpha 0.001, n = 100" in readme
    assert "timing" not in str(read_card(folder)["metrics"])


def test_a_remark_stands_before_the_numbers_until_it_is_removed(folder, summary, tmp_path):
    write_summary(tmp_path / "run", summary)
    add_metrics(folder, [tmp_path / "run"], remark="The recipe was chosen on these recordings.")
    add_metrics(folder, [])
    remark, numbers = (folder / "README.md").read_text().split("## Certified robustness")[1].split("CA at r:")
    assert remark.strip() == "The recipe was chosen on these recordings."
    assert summary["command"] in numbers
    add_metrics(folder, [], remark="")
    assert "The recipe" not in (folder / "README.md").read_text()


def test_a_network_that_names_speakers_is_called_so():
    assert "A speaker encoder" in render("checkpoints/mini", CARD)
    assert "An identification network" in render("checkpoints/mini", CARD | {"training": {"classes": "5182"}})


def test_a_measurement_with_the_same_settings_is_replaced(folder, summary, tmp_path):
    for number, sigma in ((1, 0.01), (2, 0.02), (3, 0.01)):
        changed = summary | {"num_utterances": number, "settings": summary["settings"] | {"sigma": sigma}}
        write_summary(tmp_path / f"run{number}", changed)
    card = add_metrics(folder, [tmp_path / f"run{number}" for number in (1, 2, 3)])
    assert [entry["num_utterances"] for entry in card["metrics"]] == [2, 3]


def test_the_same_settings_on_other_data_are_another_measurement(folder, summary, tmp_path):
    """Two corpora in folders of one name: a card does not say where they were."""
    for number, (place, content) in enumerate((("en", "1"), ("de", "2"), ("de", "2"))):
        run, settings = tmp_path / f"run{number}", summary["settings"] | {"data.corpus.root": f"/data/{place}/voices"}
        write_summary(run, summary | {"num_utterances": number, "settings": settings})
        write_plan([Planned("test", "u0", "a", 0.0, None, "", None, content)], run / "plan.jsonl")
    card = add_metrics(folder, [tmp_path / f"run{number}" for number in range(3)])
    assert [entry["num_utterances"] for entry in card["metrics"]] == [0, 2]
    assert "/data" not in str(card["metrics"])
    del card["metrics"][0]["data"]  # as older cards were
    write_card(folder, card)
    assert [entry["num_utterances"] for entry in add_metrics(folder, [tmp_path / "run2"])["metrics"]] == [2]


def test_measurements_of_other_weights_are_refused(folder, summary, tmp_path):
    write_summary(tmp_path / "run", summary | {"checkpoint_hash": "0123"})
    with pytest.raises(ValueError, match=r"runs must have measured .*mini .* with the hash 0123"):
        add_metrics(folder, [tmp_path / "run"])


def test_runs_that_named_nobody_are_refused(folder, summary, tmp_path):
    write_summary(tmp_path / "claims", {name: value for name, value in summary.items() if name != "rules"})
    write_summary(tmp_path / "purified", {"command": "voxcert purify"})
    for name in ("claims", "purified"):
        with pytest.raises(ValueError, match=f"runs must be of certify.py with the task identification, got .*{name}"):
            add_metrics(folder, [tmp_path / name])


def test_a_shard_is_refused(folder, summary, tmp_path):
    """Its n would be that of all shards."""
    write_summary(tmp_path / "run", summary | {"settings": summary["settings"] | {"num_shards": 3, "shard": 2}})
    with pytest.raises(ValueError, match=r"runs must be whole, got .*run, which is shard 2 of 3: put all shards toge"):
        add_metrics(folder, [tmp_path / "run"])
    assert read_card(folder)["metrics"] == []
    write_summary(tmp_path / "run", summary | {"settings": summary["settings"] | {"num_shards": 1, "shard": 1}})
    assert len(add_metrics(folder, [tmp_path / "run"])["metrics"]) == 1


def test_radii_elsewhere_and_other_numbers_are_told_from_those_of_waveforms(folder, summary, tmp_path):
    settings = summary["settings"] | {"noise_at": "features", "precision": "bf16"}
    write_summary(tmp_path / "run", summary | {"settings": settings})
    add_metrics(folder, [tmp_path / "run"])
    told = "at the features (radii are about these, not about waveforms), alpha 0.001, n = 100, computed in bf16."
    assert told in (folder / "README.md").read_text()


def test_corpora_that_were_put_together_are_told_one_by_one():
    parts = {"a": {"class_path": "x.LibriSpeech", "init_args": {"root": "data/a"}}, "b": {"class_path": "x.Manifest"}}
    data = {"corpus": {"class_path": "voxcert.data.Combined", "init_args": {"corpora": parts}}, "train_parts": ["a/t"]}
    text = render("checkpoints/mini", CARD | {"training": {"data": data, "noise": None}})
    assert "- data: a: LibriSpeech(root='data/a') and b: Manifest(), a/t\n" in text
    assert "held out" not in text
    text = render("checkpoints/mini", CARD | {"training": {"data": data | {"num_val_speakers": 20}, "noise": None}})
    assert "a/t\n- speakers held out of that data for validation: 20\n" in text


def test_unknown_training_is_left_out():
    text = render("checkpoints/mini", CARD)
    front = yaml.safe_load(text.split("---\n")[1])
    assert "datasets" not in front
    assert "Not recorded." in text
    assert "1.50 M parameters" in text
    assert 'voxcert.load_encoder("checkpoints/mini")' in text


def test_bundled_cards_are_rendered_as_they_would_be_today(monkeypatch):
    monkeypatch.chdir(ROOT)
    cards = [path.parent for path in sorted(Path("checkpoints").glob("*/README.md"))]
    own = [folder for folder in cards if "voxcert.encoders" in (folder / "config.yaml").read_text()]
    assert len(own) >= 5
    for folder in own:
        assert (folder / "README.md").read_text() == render(str(folder), read_card(folder))


CORPORA = {
    "SpeakerFolders": ("voxcert.data.SpeakerFolders", {"root": "/home/anna/my voices"}),
    "Manifest": ("voxcert.data.Manifest", {"path": "/data/secret/list.csv", "audio_root": "/mnt/disk/audio"}),
    "VoxCeleb": ("voxcert.data.VoxCeleb", {"root": "/srv/vox"}),
    "LibriSpeech": ("voxcert.data.LibriSpeech", {"root": "/home/anna/LibriSpeech"}),
}


@pytest.mark.parametrize("name", CORPORA)
def test_the_command_of_a_card_is_about_the_data_that_were_used(name):
    class_path, arguments = CORPORA[name]
    training = {"data": {"corpus": {"class_path": class_path, "init_args": arguments}}, "noise": None}
    text = render("checkpoints/mini", CARD | {"training": training})
    command = text.split("```bash")[1].split("```")[0]
    own = "--data configs/data/folders.yaml --data.corpus.root DIR"
    assert (own in command) == (name != "LibriSpeech")
    assert "--data.corpus.root DIR" in command
    assert ("DIR is a LibriSpeech" in text) == (name == "LibriSpeech")


@pytest.mark.parametrize("name", ["anywhere", "deep/er/mine"])
def test_the_folder_is_called_as_it_was_written(folder, tmp_path, monkeypatch, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    folder.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for written in (name, f"./{name}", tmp_path / name):
        add_metrics(written, [])
        readme = (tmp_path / name / "README.md").read_text()
        assert f'voxcert.load_encoder("{name}")' in readme
        assert f"--checkpoint {name} " in readme
        assert f"# {name.split('/')[-1]}\n" in readme


def test_a_link_is_called_as_it_was_written_and_elsewhere_no_place_is_told(folder, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "work")
    add_metrics("../link", [])
    readme = (folder / "README.md").read_text()
    assert "# link\n" in readme
    assert 'voxcert.load_encoder("link")' in readme
    assert str(tmp_path) not in readme


def test_cards_hold_no_absolute_paths(folder, summary, tmp_path):
    private = {
        "command": "certify --checkpoint /home/anna/mini --data.corpus.root=/mnt/x/voices --runs '[/a/b, ~/c/d]'",
        "settings": summary["settings"] | {"data.corpus.init_args.root": "/mnt/my disk/voices", "purifier": "/opt/dap"},
    }
    for number in range(2):  # the second takes the place of the first
        write_summary(tmp_path / "run", summary | private | {"num_utterances": number + 1})
        card = add_metrics(folder, [tmp_path / "run"])
    (entry,) = card["metrics"]
    command = "certify --checkpoint mini --data.corpus.root=voices --runs '[b, d]'"
    for found in (entry, read_card(folder)["metrics"][0]):
        assert found["command"] == command
        assert found["settings"]["data.corpus.init_args.root"] == "voices"
    readme = (folder / "README.md").read_text()
    assert command in readme
    assert "Behind the purifier dap: 2 utterances" in readme
    for place in ("/home", "/mnt", "/opt", "anna", str(tmp_path)):
        assert place not in readme + (folder / "card.json").read_text()


def test_cards_from_before_a_renaming_are_rendered(folder, summary, tmp_path):
    write_summary(tmp_path / "run", summary)
    card = add_metrics(folder, [tmp_path / "run"])
    for entry in card["metrics"][0]["rules"].values():
        entry["acr_point"] = entry.pop("acr_plug_in")
        del entry["num_capped"]
    assert render("mini", card) == render("mini", read_card(folder))
