"""The page of `voxcert try`: its functions, and all of it in a browser where there is one."""

import re
import shutil
import socket

import numpy as np
import pytest
import torch

pytest.importorskip("gradio", reason='needs the page: pip install "voxcert[try]"')

from voxcert.deployment.page import _Page, _sound, open_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def page(new_recognizer):
    return _Page(new_recognizer())


@pytest.fixture
def file(recording, tmp_path):
    """A function that writes what somebody says and returns the path."""

    def write(name, **settings):
        path = tmp_path / f"{name}.wav"
        path.write_bytes(recording(name, **settings))
        return str(path)

    return write


def test_names_who_speaks(page, file):
    text, heard, noise = page.identify(file("bob"), 0.5)
    assert text.startswith("This is **bob**.")
    assert not heard.visible
    assert not noise.visible


def test_a_stranger_is_nobody(page, file):
    page.recognizer.open_set = True
    assert page.identify(file("bob"), 0.99999)[0].startswith("This is **nobody** who is enrolled.")
    assert page.identify(file("bob"), -0.9)[0].startswith("This is **bob**.")


def test_a_certificate_is_read_and_heard(page, file):
    path = file("ann")
    text, heard, noise = page.certify(path)
    assert re.search(
        r"Proved: the answer for this recording is \*\*ann\*\*, or none, .* the 0.4 s that are heard", text
    )
    assert re.fullmatch(r"That noise alone, made \d+ dB louder", noise.label)
    radius = float(re.search(r"below \*\*([\d.]+)\*\*", text)[1])
    assert 0 < radius < 0.05
    assert heard.visible
    assert noise.visible


def test_no_more_is_promised_of_an_open_set_than_is_proved(page, file):
    page.recognizer.open_set = True
    path = file("ann")
    text, *_ = page.certify(path)
    assert text.startswith("Proved: no other speaker than **ann** is named for this recording, whatever anyone adds to")
    assert "answer for this recording" not in text, "for that may be nobody:"
    assert page.identify(path, 0.99999)[0].startswith("This is **nobody** who is enrolled.")


def test_who_is_enrolled_is_named(page, file):
    text, *_, known = page.enroll(file("dora"), " dora ")
    assert text.startswith("**dora** is enrolled")
    assert known == "4 speakers are enrolled: ann, bob, cid, dora"
    assert page.identify(file("dora"), 0.5)[0].startswith("This is **dora**.")


def test_nobody_takes_the_name_of_another(page, file):
    """Who was certified stays who they are."""
    before = page.recognizer._certifier.prototypes.clone()
    text = page.enroll(file("dora"), " ann ")[0]
    assert text == "Somebody called ann is enrolled already: choose another name."
    assert torch.equal(page.recognizer._certifier.prototypes, before)


def test_mistakes_are_sentences(page, file, tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    assert page.identify(None, 0.5)[0] == "Record or choose a recording first."
    assert page.certify(str(tmp_path / "empty.wav"))[0] == "the recording: empty: the file has 0 bytes"
    assert "too short" in page.identify(file("ann", seconds=0.2), 0.5)[0]
    assert page.enroll(file("eve"), "  ")[0] == "Name the speaker to enrol."


def test_a_port_that_is_taken_is_named(new_recognizer):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port must be one that nothing listens at, got {port}: Address already"):
            open_page(new_recognizer(), port)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a browser: chromium")
@pytest.mark.parametrize("width", [390, 1440])
def test_works_in_a_browser(start, certified_run, file, tmp_path, width):
    """Identifies, certifies and enrols, loads nothing from elsewhere, fits the window and keeps no recording."""
    (tmp_path / "temporary").mkdir()
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    served = start("try", certified_run, "--seed", 0, TMPDIR=str(tmp_path / "temporary"))
    with served as (process, address), playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_label("Upload file").first.click()
        page.set_input_files("input[type=file]", file("ann", seconds=2.0))
        page.get_by_label("Play", exact=True).first.wait_for()
        for button, text in (("Identify", "This is ann."), ("Certify", "Proved: the answer for this recording is ann")):
            page.get_by_role("button", name=button).click()
            page.locator("#answer", has_text=text).wait_for(timeout=60_000)
        page.get_by_text("That noise alone, made").wait_for()
        page.get_by_label("Name of a new speaker").fill("dora")
        page.get_by_role("button", name="Enrol this recording").click()
        page.locator("#known", has_text="4 speakers are enrolled: ann, bob, cid, dora").wait_for(timeout=60_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        assert errors == []
        browser.close()
        assert list((tmp_path / "temporary").rglob("*.wav"))
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()] == []


def test_sounds_keep_their_loudness():
    rate, samples = _sound(torch.tensor([0.0, 0.25, -2.0]))
    assert (rate, samples.dtype, samples.tolist()) == (16_000, np.int16, [0, 8192, -32767])
