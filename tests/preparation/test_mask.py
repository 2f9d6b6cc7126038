"""The semantic mask against nltk's own similarity and closure, pair by pair."""

import pickle

import numpy as np
import pytest

from datasets.catalog import SKETCHY, imagenet_wnids, published_classes
from datasets.file_lists import read_semantic_mask
from preparation.mask import mask_rows, synset_of_name, written_masks
from preparation.wordnet import noun, on_this_machine, open_wordnet, wnid_of
from tests.helpers.tiny_wordnet import random_nouns, write_wordnet
from utils.errors import InputError

pytest.importorskip("nltk")


def slow_row(synset, targets) -> list[float]:
    """The rule of the mask, word by word."""

    def below(above):
        return list(above.closure(lambda each: each.hyponyms()))

    row = []
    for target in targets:
        similarity = synset.path_similarity(target) or 0
        if synset == target or target in below(synset) or synset in below(target):
            row.append(1.0)
        else:
            row.append(similarity if similarity > 0.2 else 0.0)
    return row


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(reader, {entry: wnid}) of the made-up WordNet."""
    folder = tmp_path_factory.mktemp("wordnet")
    wnids = write_wordnet(folder)
    return open_wordnet(folder, landmark=(wnids["cat"], "cat")), wnids


def rows_of(photos, wordnet, columns):
    return np.array(list(mask_rows(photos, wordnet, columns)[0].values()))


def test_every_synset_against_every_other_as_nltk_has_it(tmp_path):
    wnids = write_wordnet(tmp_path, random_nouns(np.random.default_rng(0), count=80))
    wordnet = open_wordnet(tmp_path, landmark=(wnids["w0"], "w0"))
    synsets = {wnid: noun(wordnet, wnid) for wnid in wnids.values()}
    columns = list(synsets)[::2]
    rows = rows_of({wnid: [f"{wnid}_1.jpg"] for wnid in synsets}, wordnet, columns)
    expected = np.array([slow_row(synset, [synsets[wnid] for wnid in columns]) for synset in synsets.values()])
    np.testing.assert_array_equal(rows, expected)
    assert {0, 0.25, 1 / 3, 0.5, 1} == set(expected.flat)


def test_an_instance_is_near_but_not_below_and_trees_apart_are_far(tiny):
    wordnet, wnids = tiny
    columns = [wnids[entry] for entry in ("dog domestic_dog", "spaniel", "cat", "car auto", "fame", "rex")]
    rows = rows_of({"a": [f"{wnids['rex']}_1.jpg"], "b": [f"{wnids['animal']}_1.jpg"]}, wordnet, columns)
    np.testing.assert_array_equal(rows[0], [1 / 2, 1 / 4, 1 / 4, 0, 0, 1])  # spaniel, toy dog, dog, rex
    np.testing.assert_array_equal(rows[1], [1, 1, 1, 0, 0, 1 / 3])


def test_a_later_synset_overwrites_in_the_order_of_the_file_names(tmp_path):
    wnids = write_wordnet(tmp_path, {"entity": [], "object": ["entity"], "pet": ["object"], "dog": ["pet"], "cat": ["pet"]})
    wordnet = open_wordnet(tmp_path, landmark=(wnids["cat"], "cat"))
    dog, cat = wnids["dog"], wnids["cat"]
    rows, by_name = mask_rows({"both": [f"photos/b/{cat}_1.jpg", f"photos/a b/{dog}_12.jpg"]}, wordnet, [dog, cat])
    np.testing.assert_array_equal(rows["both"], [1 / 3, 1])
    assert dog < cat and by_name == {}


def test_a_class_falls_back_on_its_name_then_on_zeros(tiny):
    wordnet, wnids = tiny
    photos = {
        "cat": ["n00000007_1.jpg", "plain.jpg"],
        "nonsense": [f"x{wnids['cat']}_1.jpg"],
        "glory": [],
        "dog": [f"{wnids['taxi']}_3.JPEG", "n99999999_1.jpg"],
    }
    rows, by_name = mask_rows(photos, wordnet, [wnids["cat"], wnids["car auto"]])
    np.testing.assert_array_equal(list(rows.values()), [[1, 0], [0, 0], [0, 0], [0, 1]])
    assert by_name == {"cat": (wnids["cat"], "cat.n.01"), "glory": (wnids["glory"], "glory.n.01")}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("car_(sedan)", "car auto"),
        ("mouse (animal)", "mouse"),
        ("hot-air_balloon", "hot-air_balloon"),
        ("hot air balloon", "hot-air_balloon"),
        ("hotairballoon", "hot-air_balloon"),
        ("Toy Dogs", "toy_dog"),
        ("toy-dog", "toy_dog"),
        ("flip flops", "flip-flop"),
        ("head-phones", "headphone"),
        ("tablelamp", "table_lamp"),
        ("table-lamp", "table_lamp"),
        ("tax-i", "taxi"),
        ("(dog)", None),
        ("sponge bob", None),
    ],
)
def test_names_are_found_in_whatever_spelling(tiny, name, entry):
    wordnet, wnids = tiny
    found = synset_of_name(name, wordnet)
    assert (found and wnid_of(found)) == (entry and wnids[entry])


def test_an_imagenet_class_that_wordnet_lacks_is_named(tiny):
    with pytest.raises(InputError, match="n00000003"):
        mask_rows({}, tiny[0], [tiny[1]["cat"], "n00000003"])


def test_damage_that_nltk_meets_late_is_named(tmp_path):
    wnids = write_wordnet(tmp_path)
    content = (tmp_path / "data.noun").read_text()
    (tmp_path / "data.noun").write_text(content.replace(" n 02 dog", " n 03 dog"))
    wordnet = open_wordnet(tmp_path, landmark=(wnids["entity"], "entity"))
    with pytest.raises(InputError, match="damaged, or not WordNet"):
        mask_rows({"cat": []}, wordnet, [wnids["dog domestic_dog"]])


def test_masks_are_read_back_as_they_were_written(tmp_path):
    generator = np.random.default_rng(5)
    seen, unseen = generator.uniform(size=(3, 1000)), generator.uniform(size=(2, 1000))
    for name, content in written_masks(seen, unseen).items():
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_semantic_mask(tmp_path / name, 3), seen.astype(np.float32))
    with np.load(tmp_path / "cid_mask.npz") as arrays:
        np.testing.assert_array_equal(arrays["cid_mask"], seen)
        np.testing.assert_array_equal(arrays["cid_mask_zero"], unseen)


def test_the_pickle_is_one_that_old_code_reads():
    seen = np.random.default_rng(6).uniform(size=(3, 1000))
    content = written_masks(seen, seen[:1])["cid_mask.pickle"]
    assert content.startswith(b"\x80\x02") and b"numpy._core" not in content
    mask = pickle.loads(content)
    assert list(mask) == [0, 1, 2] and all(type(label) is int and mask[label].dtype == np.float64 for label in mask)
    np.testing.assert_array_equal(np.stack(list(mask.values())), seen)


@pytest.mark.skipif(on_this_machine() is None, reason="no WordNet on this machine")
def test_on_the_real_wordnet_too():
    wordnet, wnids = open_wordnet(), imagenet_wnids()[::25]
    classes = published_classes(SKETCHY, "zeroshot1")[0][::5]
    targets = [noun(wordnet, wnid) for wnid in wnids]
    expected = [slow_row(synset_of_name(name, wordnet), targets) for name in classes]
    rows, by_name = mask_rows({name: [] for name in classes}, wordnet, wnids)
    np.testing.assert_array_equal(list(rows.values()), expected)
    assert list(by_name) == classes and np.any(expected)
    everything = mask_rows({"dog": ["n02084071_1.jpg"], "wading_bird": ["n02000954_1.jpg"]}, wordnet)[0]
    assert everything["dog"].shape == (1000,)
    wader = everything["wading_bird"]
    assert wader[134] < 1 and wader[133] == 1  # published masks take the bird called crane for the machine
    assert np.flatnonzero(everything["dog"] == 1).tolist() == list(range(151, 269))  # ImageNet's 118 dogs
