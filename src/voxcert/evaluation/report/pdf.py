"""A page as PDF, printed by a Chromium that is at hand."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
SECONDS = 300


def find_browser() -> str | None:
    """The program of a Chromium on the path; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def write_pdf(page: str | Path, output: str | Path) -> Path:
    """Prints a page.

    Args:
        page: An HTML file that needs no network.
        output: The PDF file.

    Returns:
        The PDF file.

    Raises:
        ValueError: If no Chromium is at hand, or it did not print; says what it said.
    """
    browser = find_browser()
    if browser is None:
        raise ValueError(f"pdf needs Chromium: one of {', '.join(BROWSERS)} on the path, got none")
    output = Path(output).resolve()
    output.unlink(missing_ok=True)  # so that none is taken for this one
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={profile}"]
        command += ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []  # it has none for root
        command += [f"--print-to-pdf={output}", Path(page).resolve().as_uri()]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise ValueError(f"pdf was not printed by {browser} within {SECONDS} s") from None
    if ended.returncode != 0 or not output.is_file():
        raise ValueError(f"pdf was not printed by {browser}: {ended.stderr.strip()[-500:]}")
    return output
