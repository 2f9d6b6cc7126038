"""An untrained network's checkpoint, and photos to index."""

import pytest

from tests.helpers.network import write_checkpoint
from tests.helpers.photos import write_photos


@pytest.fixture(scope="session")
def network_file(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("network") / "model_best.pth.tar")


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def searcher(photos, network_file, tmp_path):
    """A searcher of an index of the twelve photos."""
    from tests.helpers.serving import searcher_of  # the tests without a page need no web server

    return searcher_of(photos, network_file, tmp_path / "index")


@pytest.fixture
def served(searcher):
    from tests.helpers.serving import serving

    with serving(searcher) as page:
        yield page


@pytest.fixture
def pytorch_embeds(monkeypatch):
    """Few photos do not repay the seconds of a conversion for OpenVINO."""
    monkeypatch.setattr("models.engines.openvino_version", lambda: None)


@pytest.fixture
def search(run_script):
    """search(command, …) → (exit code, stdout, last line of stderr); in float32 unless the words name a precision."""

    def run(*words):
        precision = [] if "--precision" in words or "--help" in words else ["--precision", "float32"]
        code, out, err = run_script("search.py", *words, *(precision if words else []))
        assert "Traceback" not in err
        return code, out, err.splitlines()[-1] if err.strip() else ""

    return run
