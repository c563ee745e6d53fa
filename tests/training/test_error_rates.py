from voxcert.rows import read_rows
from voxcert.smoothing import CertifiedScore
from voxcert.training.error_rates import write_eers


def trial(speaker, claim, **changes):
    values = {"utterance": f"{speaker}/1", "verifier": "vote", "open_set": False, "enrolled": True, "failed": None}
    values |= {"score": 0.5, "radii": [0.0], "lower": [0.4], "upper": [0.6], "sigma": 0.1, "alpha": 1e-3}
    values |= {"num_select": 8, "num_estimate": 32, "num_forwards": 40, "seconds": 1.0, "seed": 0}
    return CertifiedScore(speaker=speaker, claim=claim, **values | changes)


def test_trials_are_written_in_any_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda *given: "ascii")  # what a file is opened with
    trials = [trial("ü", "ü"), trial("ü", "ö", lower=[-0.6], upper=[-0.4])]
    write_eers(trials, tmp_path, epoch=0, step=3)
    assert read_rows(tmp_path / "trials-epoch=0-step=3.jsonl", CertifiedScore) == trials
    assert (tmp_path / "certified_error_rates.csv").read_bytes().splitlines()[1:] == [b"0,3,vote,0,0"]
