from contextlib import nullcontext

from voxcert.evaluation.report import tracking


def test_pictures_of_folders_that_end_alike_are_all_sent(tmp_path, monkeypatch):
    sent = {}
    monkeypatch.setattr(tracking.wandb, "init", lambda **settings: nullcontext())
    monkeypatch.setattr(tracking, "log_report", lambda run, page, pictures: sent.update(pictures))
    en, de, verify = (tmp_path / name / "curve.png" for name in ("en/certify", "de/certify", "en/verify"))
    tracking.track_report("voxcert-test", tmp_path / "report.html", [en, de, verify])
    assert sent == {
        "certify/curve (en/certify)": en,
        "certify/curve (de/certify)": de,
        "verify/curve": verify,
    }
