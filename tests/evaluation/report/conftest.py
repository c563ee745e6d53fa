import pytest
from reported import make_runs, make_voices


@pytest.fixture(scope="session")
def runs(tmp_path_factory, checkpoint):
    """Folders of runs on four voices: certified, verified, attacked, bare."""
    folder = tmp_path_factory.mktemp("reported")
    return make_runs(folder, checkpoint, make_voices(folder / "voices"))
