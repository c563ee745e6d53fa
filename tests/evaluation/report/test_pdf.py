import pytest

from voxcert.evaluation.report.pdf import write_pdf


def test_no_browser_is_an_error_that_names_them(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="pdf needs Chromium: one of chromium, .* on the path, got none"):
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")


def test_a_browser_that_does_not_end_is_an_error_and_an_older_pdf_is_gone(monkeypatch, tmp_path):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    (tmp_path / "report.pdf").write_text("of another page")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("voxcert.evaluation.report.pdf.SECONDS", 0.2)
    with pytest.raises(ValueError, match="pdf was not printed by .*chromium within 0.2 s"):
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


def test_a_browser_that_does_not_print_is_an_error(monkeypatch, tmp_path):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ValueError, match="pdf was not printed by .*chromium: no display"):
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
