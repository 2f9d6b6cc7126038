"""An untrained network's checkpoint, and photos to index."""

import pytest

from tests.helpers.network import write_checkpoint
from tests.helpers.trees import picture


@pytest.fixture(scope="session")
def network_file(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("network") / "model_best.pth.tar")


@pytest.fixture
def photos(tmp_path):
    """Twelve photos in two folders."""
    for number in range(12):
        path = tmp_path / "photos" / ("old" if number % 2 else "new") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return tmp_path / "photos"


@pytest.fixture
def searcher(photos, network_file, tmp_path):
    """An index of the twelve, ready to be asked."""
    from tests.helpers.serving import searcher_of  # the tests without a page need no gradio

    return searcher_of(photos, network_file, tmp_path / "index")


@pytest.fixture
def served(searcher):
    from tests.helpers.serving import serving

    with serving(searcher) as page:
        yield page
