"""The HTML report of one test: what it shows is right, and nothing in users' files can break out of it."""

import base64
import dataclasses
import errno
import hashlib
import io
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from report.analysis import best_median_worst, confusion, disagreements
from report.page import ReportData, write_report
from retrieval.metrics import METRICS
from retrieval.scores import evaluate_ranking
from tests.helpers.html_tree import Tree
from utils.errors import InputError

SECTIONS = ["metrics", "classes", "precision-recall", "queries", "confusion", "map", "disagreement"]
HOSTILE = {
    0: "<script>alert(1)</script>",
    1: '"><img src=x onerror=alert(2)>',
    2: "]]>--></style></svg><b onclick='x'>",
    3: " \t\n",
    4: "$\\frac{$1 {{ 7 * 7 }} url(http://x.example/a) &lt;",
    5: "_汉字 عربى a\u202eb\x00c\ud800 " + "long" * 100,
    6: "javascript:alert(3)",
}


def example(seed=0, classes=4, queries=30, photos=90, distractors=2, spread=1.0, **changes):
    """Random embeddings around class centres; `classes` of the labels have queries, `distractors` only photos."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes + distractors, 6))
    labels = np.sort(generator.integers(0, classes, queries)), generator.integers(0, classes + distractors, photos)
    features = [(centres[values] + spread * generator.normal(size=(len(values), 6))).astype(np.float32) for values in labels]
    data = ReportData(
        title="Drawn, zeroshot1",
        facts={"checkpoint": "run/model_best.pth.tar", "gallery": str(photos)},
        scores=ranked(*features, *labels),
        query_labels=labels[0],
        gallery_labels=labels[1],
        names={label: f"thing_{label}" for label in range(classes + distractors)},
        query_features=features[0],
        gallery_features=features[1],
        thumbnail=thumbnail,
    )
    return dataclasses.replace(data, **changes)


def ranked(query, gallery, query_labels, gallery_labels):
    labels = torch.from_numpy(query_labels), torch.from_numpy(gallery_labels)
    query, gallery = torch.from_numpy(query), torch.from_numpy(gallery)
    return {
        "real": evaluate_ranking("euclidean", query, labels[0], gallery, labels[1]),
        "hash": evaluate_ranking("hamming", query > 0, labels[0], gallery > 0, labels[1]),
    }


def thumbnail(kind, index):
    """Every image another."""
    return np.random.default_rng((kind == "query", index)).integers(0, 256, (12, 16, 3)).astype(np.uint8)


def written(folder, data):
    path = folder / "report" / "index.html"
    write_report(path, data)
    assert os.listdir(path.parent) == ["index.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data():
    """Four classes with queries, one of them without a photo."""
    data = example(seed=3)
    kept = data.gallery_labels != 1
    labels = data.query_labels, data.gallery_labels[kept]
    features = data.query_features, data.gallery_features[kept]
    return dataclasses.replace(data, gallery_labels=labels[1], gallery_features=features[1], scores=ranked(*features, *labels))


@pytest.fixture(scope="module")
def page(data, tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"), data)


@pytest.fixture(scope="module")
def root(page):
    return Tree(page).root


def section(root, name):
    return next(node for node in root.all("section") if node.attributes["id"] == name)


def test_sections_stand_in_order_and_say_what_they_show(root):
    assert [node.attributes["id"] for node in root.all("section")] == SECTIONS
    for node in root.all("section"):
        assert len(next(node.all("p", "note")).text) > 60
    assert [link.attributes["href"] for link in next(root.all("nav")).all("a")] == [f"#{name}" for name in SECTIONS]
    assert next(root.all("h1")).text == "Drawn, zeroshot1" and "run/model_best.pth.tar" in next(root.all("dl")).text


def test_table_has_every_metric_with_its_definition(root, data):
    rows = list(next(next(section(root, "metrics").all("table")).all("tbody")).all("tr"))
    assert [[cell.text for cell in row.children] for row in rows] == [
        [metric.text, *(f"{scores.summary()[key]:.4f}" for scores in data.scores.values())] for key, metric in METRICS.items()
    ]
    headline = [next(row.all("th")).text for row in rows if "headline" in row.classes]
    assert headline == ["mAP@all released (interpolated, class mean)", "P@100 released (÷ min(100, gallery), class mean)"]
    count = next(node for node in section(root, "metrics").all("b"))
    assert int(count.text) == (data.query_labels == 1).sum() > 0


def test_bars_are_the_means_of_each_class_best_first(root, data):
    rows = list(next(section(root, "classes").all("tbody")).all("tr"))
    expected = {ranking: scores.per_class(data.names) for ranking, scores in data.scores.items()}
    assert len(rows) == 3
    shown = []
    for row in rows:
        name, label = next(row.all("span", "name")).text, int(next(row.all("span", "name")).text[-1])
        cells_of_row = list(row.all("td"))
        for cell, metric in zip(cells_of_row, ("map_all_released", "p100_released"), strict=True):
            values = [expected[ranking][f"thing_{label}"][metric] for ranking in data.scores]
            assert [number.text for number in cell.all("span", "number")] == [f"{value:.3f}" for value in values]
            widths = [fill.attributes["style"] for fill in cell.all("span", "fill")]
            assert widths == [f"width:{100 * value:.1f}%" for value in values]
        photos = int((data.gallery_labels == label).sum())
        reach = 100 * photos / len(data.gallery_labels)  # fewer than 100 photos in all
        assert {node.attributes["style"] for node in cells_of_row[1].all("span", "reach")} == {f"width:{reach:.1f}%"}
        assert next(row.all("small")).text.endswith(f"{photos} photos")
        shown.append(expected["real"][name.replace(" ", "_")]["map_all_released"])
    assert shown == sorted(shown, reverse=True)


def test_nothing_is_loaded_from_elsewhere(page, root):
    assert "://" not in re.sub(r' xmlns(:xlink)?="[^"]*"', "", page) and "@import" not in page
    for node in root.all():
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert node.attributes.get(name, "#").startswith(("#", "data:image/")), node.attributes
        assert node.tag not in ("link", "iframe", "object", "embed", "base")
    assert all(target.startswith(("data:image/", "#")) for target in re.findall(r"url\(([^)]*)\)", page))


def test_only_the_pages_own_script_may_run(page, root):
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(node.attributes["content"] for node in root.all("meta") if "http-equiv" in node.attributes)
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_ids_are_unique_and_every_reference_has_its_target(page, root):
    ids = Counter(node.attributes["id"] for node in root.all() if "id" in node.attributes)
    assert max(ids.values()) == 1
    used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert len(used) > 10 and used <= set(ids)


def test_every_picture_has_words_and_stands_in_the_page_once(page, root):
    rules = dict(re.findall(r"\.(p-\w+-\d+) \{ background-image: url\((data:image/jpeg;base64,[^)]+)\) \}", page))
    assert page.count("data:image/jpeg") == len(rules) == len(set(rules.values()))
    shown = [node for node in root.all("img") if "chart" not in node.classes]
    assert {name for node in shown for name in node.classes} == set(rules) and len(shown) > len(rules)
    assert all(node.attributes["alt"].startswith(("photo ", "query: ")) for node in shown)
    with Image.open(io.BytesIO(base64.b64decode(next(iter(rules.values())).split(",")[1]))) as image:
        assert image.size == (16, 12)
    assert all(node.attributes["alt"] for node in root.all("img", "chart")) and len(list(root.all("img", "chart"))) == 2
    (chart,) = root.all("div", "map")
    assert chart.attributes["role"] == "img" and chart.attributes["aria-label"]


def test_large_thumbnails_are_made_small(tmp_path):
    page = written(tmp_path, example(queries=4, photos=8, thumbnail=lambda kind, index: np.zeros((200, 160, 3), np.uint8)))
    picture = re.search(r"data:image/jpeg;base64,([^)]+)\)", page)[1]
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.size == (77, 96)


def shown_row(node):
    """(role, AP, CSS class of the query, [(CSS class, right?, label below or "")]) of a row of pictures."""
    query, *photos = (child for child in node.children if child.tag == "li")
    found = []
    for photo in photos:
        right = "right" in photo.classes
        assert ("wrong" in photo.classes) != right
        assert next(photo.all("use")).attributes["href"] == ("#tick" if right else "#cross")
        image = next(photo.all("img"))
        assert f", {'right' if right else 'wrong'}: " in image.attributes["alt"]
        found.append((image.classes[0], right, "".join(label.text for label in photo.all("span", "label"))))
    role, ap = next(query.all("span", "role")).text, next(query.all("span", "number")).text
    return role, ap, next(query.all("img")).classes[0], found


def expected_row(data, ranking, query, role):
    scores, photos = data.scores[ranking], []
    for index in scores.nearest[query][:10]:
        right = data.gallery_labels[index] == data.query_labels[query]
        photos.append((f"p-gallery-{index}", right, "" if right else f"thing {data.gallery_labels[index]}"))
    return role, f"AP {scores.per_query['ap_interpolated'][query]:.3f}", f"p-query-{query}", photos


def test_grids_show_the_right_queries_and_mark_their_photos(root, data):
    expected = best_median_worst(data.scores["real"])
    grids = list(section(root, "queries").all("details"))
    assert len(grids) == len(expected) == 3
    for grid in grids:
        label = int(next(grid.all("b", "name")).text[-1])
        rows = [shown_row(node) for node in grid.all("ul", "photos")]
        assert rows == [expected_row(data, "real", query, role) for role, query in expected[label]]
    marks = {right for grid in grids for node in grid.all("ul", "photos") for _, right, _ in shown_row(node)[3]}
    assert marks == {True, False}


def test_the_most_frequent_confusions_are_put_into_words(root, data):
    found = confusion(data.scores["real"], data.gallery_labels, np.array([0, 2, 3]))
    names = ["thing 0", "thing 2", "thing 3", "other (seen) classes"]
    listed = [node.text for node in next(section(root, "confusion").all("ol")).all("li")]
    assert len(listed) > 3
    assert listed == [f"{names[row]} → {names[column]}: {100 * share:.1f} %" for row, column, share in found.most_frequent(12)]
    heading, *rows = ([cell.text for cell in row.children] for row in next(section(root, "confusion").all("table")).all("tr"))
    assert heading[1:] == names and [row[0] for row in rows] == names[:3]
    expected = [[f"{100 * share:.0f}" if share >= 0.01 else "" for share in shares] for shares in found.shares.tolist()]
    assert [row[1:] for row in rows] == expected


def test_disagreements_against_a_loop(root, data):
    real, hashed = (data.scores[name].per_query["ap_interpolated"] for name in ("real", "hash"))
    first, second = [], []
    for query in range(len(real)):
        if data.scores["real"].has_positive[query] and real[query] != hashed[query]:
            (first if real[query] > hashed[query] else second).append(query)
    first.sort(key=lambda query: (hashed[query] - real[query], query))
    second.sort(key=lambda query: (real[query] - hashed[query], query))
    found = disagreements(data.scores["real"], data.scores["hash"], 4)
    assert first and second and [part.tolist() for part in found] == [first[:4], second[:4]]

    shown = list(section(root, "disagreement").all("div", "difference"))
    assert len(shown) == len(first[:8] + second[:8])
    for node, query in zip(shown, first[:8] + second[:8], strict=True):
        words = f"thing {data.query_labels[query]}: AP real {real[query]:.3f}, AP hash {hashed[query]:.3f}"
        assert next(node.all("p")).text == words
        rows = [shown_row(row) for row in node.all("ul", "photos")]
        assert rows == [expected_row(data, ranking, query, ranking) for ranking in ("real", "hash")]


def test_the_map_has_a_point_for_every_image_and_a_legend(root, data):
    charts = section(root, "map")
    drawn = {"query": 0, "photo": 0}
    for group in charts.all("g"):
        kind, found = re.match(r"map-(query|photo)-", group.attributes.get("id", "")), len(list(group.all("use")))
        if kind:
            drawn[kind[1]] += found
    assert drawn == {"query": len(data.query_labels), "photo": len(data.gallery_labels)}
    legend = [node.text for node in next(charts.all("ul", "legend")).all("li")]
    assert legend == ["1thing 0", "2thing 1", "3thing 2", "4thing 3", "other (seen) classes"]


def tags(page):
    return Counter((node.tag, *sorted(node.attributes)) for node in Tree(page).root.all())


def test_hostile_names_are_shown_and_do_nothing(tmp_path):
    data = example(seed=1, classes=5, queries=15, photos=30)
    plain = written(tmp_path / "plain", data)
    facts = {"checkpoint": HOSTILE[0], "gal<i>lery": HOSTILE[5]}
    page = written(tmp_path / "hostile", dataclasses.replace(data, names=HOSTILE, title=HOSTILE[1], facts=facts))
    assert tags(page) == tags(plain)  # not one element or attribute more
    root = Tree(page).root
    assert next(root.all("title")).text == HOSTILE[1] == next(root.all("h1")).text
    assert [node.text for node in next(root.all("dl")).children][:2] == ["checkpoint", HOSTILE[0]]
    names = [node.text for node in section(root, "classes").all("span", "name")]
    assert set(names) == {HOSTILE[0], HOSTILE[1], HOSTILE[2], "class 3", HOSTILE[4]}
    alts = [node.attributes["alt"] for node in root.all("img")]
    assert any(alt.endswith(HOSTILE[2]) for alt in alts)
    wrong = {node.text for node in root.all("span", "label")}
    assert any(name.startswith("汉字 عربى a\ufffdb\ufffdc\ufffd long") and len(name) == 100 for name in wrong)


DEGENERATE = {
    "one class, one query, one photo": {"classes": 1, "queries": 1, "photos": 1, "distractors": 0},
    "fewer than ten photos": {"classes": 2, "queries": 4, "photos": 5, "distractors": 0, "seed": 5},
    "a class of one query, and of two": {"classes": 6, "queries": 10, "photos": 40, "seed": 2},
    "embeddings that differ by a rounding": {
        "query_features": np.nextafter(np.ones((30, 6), np.float32), np.float32(np.arange(30)[:, None] % 2 * 2)),
        "gallery_features": np.ones((90, 6), np.float32),
    },
    "huge embeddings": {
        "query_features": 1e25 * np.random.default_rng(0).normal(size=(30, 6)),
        "gallery_features": 1e25 * np.random.default_rng(1).normal(size=(90, 6)),
    },
    "equal embeddings": {"query_features": np.ones((30, 6), np.float32), "gallery_features": np.ones((90, 6), np.float32)},
    "one dimension": {"query_features": np.arange(30.0)[:, None], "gallery_features": np.arange(90.0)[:, None]},
    "no embeddings": {"query_features": None},
    "no pictures": {"thumbnail": None, "queries": 12, "photos": 20},
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("case", DEGENERATE)
def test_small_and_odd_inputs_make_a_page(tmp_path, case):
    data = example(**DEGENERATE[case])
    page = written(tmp_path, data)
    root = Tree(page).root
    left_out = {"no embeddings": {"map"}, "no pictures": {"queries"}}.get(case, set())
    assert [node.attributes["id"] for node in root.all("section")] == [name for name in SECTIONS if name not in left_out]
    assert [node.attributes["href"] for node in root.all("a")] == [f"#{name}" for name in SECTIONS if name not in left_out]
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"data:[^\"')]*", "", page), flags=re.IGNORECASE)
    for details in root.all("details"):
        rows = [shown_row(node) for node in details.all("ul", "photos")]
        count = int(re.search(r"(\d+) quer", next(details.all("summary")).text)[1])
        assert len(rows) == min(count, 3) and all(len(photos) == min(10, len(data.gallery_labels)) for *_, photos in rows)
    if "map" not in left_out:
        without = case in ("one class, one query, one photo", "fewer than ten photos", "equal embeddings")
        assert ("No map" in section(root, "map").text) == without


def test_one_ranking_alone(tmp_path):
    data = example()
    page = written(tmp_path, dataclasses.replace(data, scores={"hash": data.scores["hash"]}, query_features=None))
    root = Tree(page).root
    assert [node.attributes["id"] for node in root.all("section")] == SECTIONS[:5]
    assert [node.text for node in next(section(root, "metrics").all("thead")).all("th")] == ["metric", "hash"]
    assert "in the hash ranking" in section(root, "queries").text and "embeddings" not in section(root, "metrics").text


def test_the_same_data_give_the_same_page(tmp_path, data, page):
    assert written(tmp_path, data) == page


def test_an_unwritable_place_is_named_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    for path in (tmp_path / "file" / "index.html", tmp_path / "folder.html", tmp_path / "index.txt"):
        with pytest.raises(InputError, match=f"report .*{path.name}: "):
            write_report(path, example(thumbnail=fails))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.html"] and not os.listdir(tmp_path / "folder.html")


def fails(kind, index):
    raise InputError(f"{kind} {index}: unreadable")


def test_a_failure_on_the_way_keeps_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "index.html"
    path.write_text("old")
    with pytest.raises(InputError, match="unreadable"):
        write_report(path, example(thumbnail=fails))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["index.html"]

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        write_report(path, example(thumbnail=None, query_features=None))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["index.html"]


@pytest.mark.parametrize("module", ("matplotlib", "jinja2"))
def test_a_missing_library_is_named_before_anything_is_done(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=module) as missing:
        write_report(tmp_path / "report" / "index.html", example(thumbnail=fails))
    assert missing.value.name == module and not os.listdir(tmp_path)


def test_the_tie_rule_is_said_as_it_was(tmp_path):
    first, averaged = (
        "At equal distance the photo with the lower gallery index",
        "means over all orders of photos at equal distance",
    )
    for ties, said, unsaid in (("stable", first, averaged), ("average", averaged, first)):
        data = example(query_features=None)
        scores = {name: dataclasses.replace(scores, ties=ties) for name, scores in data.scores.items()}
        text = " ".join(written(tmp_path / ties, dataclasses.replace(data, scores=scores)).split())
        assert said in text and unsaid not in text
