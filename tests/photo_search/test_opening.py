"""What a refused command leaves: nothing that a corrected one would stumble over."""

import pytest

from photo_search.config import StoreOptions
from photo_search.milvus_address import milvus_address
from photo_search.stores import open_store
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("pytorch_embeds")


def test_a_mistyped_folder_makes_no_index(photos, network_file, tmp_path, search):
    words = "--checkpoint", network_file, "-o", tmp_path / "index"
    code, _, err = search("index", tmp_path / "fotos", *words)
    assert code == 2 and err.endswith("fotos: no such file or folder; name photos, or folders that hold some")
    assert not (tmp_path / "index").exists()


def test_a_refused_store_is_not_recorded(photos, network_file, tmp_path, search):
    pytest.importorskip("milvus_lite")
    words = "index", photos, "--checkpoint", network_file, "-o", tmp_path / "index", "--num_workers", 0, "--store"
    code, _, err = search(*words, f"milvus:{tmp_path}/nowhere/x.db")
    assert code == 2 and "there is no such folder" in err
    code, _, err = search(*words, f"milvus:{tmp_path}/x.db")
    assert code == 0, err
    code, _, err = search("index", "-o", tmp_path / "index", "--store", f"milvus:{tmp_path}/other.db")
    assert code == 2 and f"are in milvus:{tmp_path}/x.db#photos; leave out --store" in err


@pytest.mark.parametrize(("content", "said"), [(b"", "holds no token"), (b"\xff", "not a text file"), (None, "No such file")])
def test_a_token_file_without_a_token_is_refused(content, said, tmp_path):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    options = StoreOptions(milvus_address("milvus:http://127.0.0.1:1"), file)
    with pytest.raises(InputError, match=f"--token_file {file}: .*{said}"):
        open_store(tmp_path / "index", options)
