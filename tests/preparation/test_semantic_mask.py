"""The semantic mask against nltk's own similarity and closure, pair by pair."""

import pickle

import numpy as np
import pytest

from datasets.catalog import SKETCHY, imagenet_wnids, published_classes
from datasets.file_lists import read_semantic_mask
from preparation.semantic_mask import Nearness, mask_rows, synset_of_name, write_masks
from preparation.wordnet import noun, on_this_machine, open_wordnet, wnid_of
from tests.helpers.tiny_wordnet import random_nouns, write_wordnet
from utils.errors import InputError

pytest.importorskip("nltk")


def slow_row(synset, targets) -> list[float]:
    """SPEC 2, word by word."""

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


@pytest.mark.parametrize("seed", range(4))
def test_every_synset_against_every_other_as_nltk_has_it(tmp_path, seed):
    wnids = write_wordnet(tmp_path, random_nouns(np.random.default_rng(seed)))
    wordnet = open_wordnet(tmp_path, landmark=(wnids["w0"], "w0"))
    synsets = {wnid: noun(wordnet, wnid) for wnid in wnids.values()}
    columns = list(synsets)[::2]
    nearness = Nearness(wordnet, columns)
    rows = np.array([nearness.row(synset) for synset in synsets.values()])
    expected = np.array([slow_row(synset, [synsets[wnid] for wnid in columns]) for synset in synsets.values()])
    np.testing.assert_array_equal(rows, expected)
    assert {0, 0.25, 1 / 3, 0.5, 1} == set(expected.flat)


def test_an_instance_is_near_but_not_below_and_trees_apart_are_far(tiny):
    wordnet, wnids = tiny
    columns = [wnids[entry] for entry in ("dog domestic_dog", "spaniel", "cat", "car auto", "fame", "rex")]
    rows = mask_rows(["a", "b"], [[f"{wnids['rex']}_1.jpg"], [f"{wnids['animal']}_1.jpg"]], wordnet, columns).rows
    np.testing.assert_array_equal(rows[0], [1 / 2, 1 / 4, 1 / 4, 0, 0, 1])  # spaniel, toy dog, dog, rex
    np.testing.assert_array_equal(rows[1], [1, 1, 1, 0, 0, 1 / 3])


def test_a_later_synset_overwrites_in_the_order_of_appearance(tiny):
    wordnet, wnids = tiny
    columns = [wnids[entry] for entry in ("dog domestic_dog", "cat", "ship")]
    dog, cat, ship = (f"photo/a_b/{wnid}_12.jpg" for wnid in columns)
    mask = mask_rows(["both", "turned", "three"], [[cat, dog, cat], [dog, cat], [ship, cat, dog]], wordnet, columns)
    np.testing.assert_array_equal(mask.rows, [[1, 1 / 3, 0], [1 / 3, 1, 0], [1, 1 / 3, 1]])
    assert mask.by_name == {}


def test_a_class_falls_back_on_its_name_then_on_zeros(tiny):
    wordnet, wnids = tiny
    classes = ["cat", "nonsense", "glory", "dog"]
    photos = [["n00000007_1.jpg", "plain.jpg"], [f"x{wnids['cat']}_1.jpg"], [], [f"{wnids['taxi']}_3.JPEG", "n99999999_1.jpg"]]
    mask = mask_rows(classes, photos, wordnet, [wnids["cat"], wnids["car auto"]])
    np.testing.assert_array_equal(mask.rows, [[1, 0], [0, 0], [0, 0], [0, 1]])
    assert mask.by_name == {"cat": (wnids["cat"], "cat.n.01"), "glory": (wnids["glory"], "glory.n.01")}


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
        Nearness(tiny[0], [tiny[1]["cat"], "n00000003"])


def test_masks_are_read_back_as_they_were_written(tmp_path):
    generator = np.random.default_rng(5)
    seen, unseen = generator.uniform(size=(3, 1000)), generator.uniform(size=(2, 1000))
    write_masks(tmp_path, seen, unseen)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cid_mask.npz", "cid_mask.pickle"]
    for name in ("cid_mask.npz", "cid_mask.pickle"):
        np.testing.assert_array_equal(read_semantic_mask(tmp_path / name, 3), seen.astype(np.float32))
    with np.load(tmp_path / "cid_mask.npz") as arrays:
        np.testing.assert_array_equal(arrays["cid_mask"], seen)
        np.testing.assert_array_equal(arrays["cid_mask_zero"], unseen)


def test_the_pickle_is_one_that_old_code_reads(tmp_path):
    seen = np.random.default_rng(6).uniform(size=(3, 1000))
    write_masks(tmp_path, seen, seen[:1])
    content = (tmp_path / "cid_mask.pickle").read_bytes()
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
    mask = mask_rows(classes, [[] for _ in classes], wordnet, wnids)
    np.testing.assert_array_equal(mask.rows, expected)
    assert list(mask.by_name) == classes and mask.rows.any()
    everything = mask_rows(["dog"], [["n02084071_1.jpg"]], wordnet)
    assert everything.rows.shape == (1, 1000)
    wader = mask_rows(["wading_bird"], [["n02000954_1.jpg"]], wordnet)
    assert wader.rows[0, 134] < 1 and wader.rows[0, 133] == 1  # existing masks take the bird called crane for the machine
    assert np.flatnonzero(everything.rows[0] == 1).tolist() == list(range(151, 269))  # ImageNet's 118 dogs
