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
def search(run_script):
    """search(command, …) → (exit code, stdout, last line of stderr)."""

    def run(*words):
        code, out, err = run_script("search.py", *words)
        assert "Traceback" not in err
        return code, out, err.splitlines()[-1] if err.strip() else ""

    return run
