"""An untrained network's checkpoint, and photos to index."""

import pytest
import torch
from torch import nn

from models.dsn import Student
from tests.preparation.trees import picture


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
    from tests.photo_search.serving import searcher_of  # the tests without a page need no gradio

    return searcher_of(photos, network_file, tmp_path / "index")


@pytest.fixture
def served(searcher):
    from tests.photo_search.serving import serving

    with serving(searcher) as page:
        yield page


def write_checkpoint(path, seed=0):
    """As a training run at 32 px leaves it, with a 16-d embedding."""
    torch.manual_seed(seed)
    model = nn.Module()
    model.module = Student(16, 3)
    content = {"epoch": 1, "state_dict": model.state_dict(), "best_acc1": 0.5, "options": {"image_size": 32}}
    torch.save(content, path)
    return path
