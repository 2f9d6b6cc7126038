"""The page's HTTP service: its answers, who receives them, and what it never sends."""

import base64
import contextlib
import gzip
import io
import os
import re
import shutil
import socket
import statistics
import sys
import time
from _thread import interrupt_main
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

pytest.importorskip("faiss")
pytest.importorskip("starlette")

from photo_search.searching import Searcher
from photo_search.service import listening, serve
from tests.helpers.serving import Served, again, bytes_of, drawing, searcher_of, serving
from utils.errors import InputError

SECRET = b"nothing to be seen by visitors"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def expected(hits):
    return [(hit.id, round(hit.similarity, 4)) for hit in hits]


def id_of(searcher, path):
    return next(hit.id for hit in again(searcher).of_drawing(drawing(0), 13) if hit.path == str(path))


def test_a_drawing_and_a_photo_are_answered_as_the_searcher_does(served):
    direct = again(served.searcher)
    for codes in (False, True):
        reply = served.ask(f"/search?k=5&codes={str(codes).lower()}", bytes_of(drawing(1)))
        assert reply.status == 200 and reply.json["notice"] is None
        assert reply.found == expected(direct.of_drawing(drawing(1), 5, codes))
        id_ = reply.found[0][0]
        assert served.ask(f"/like/{id_}?k=12&codes={str(codes).lower()}").found == expected(direct.like(id_, 12, codes))
    assert len(served.ask("/search?k=200", bytes_of(drawing(1))).found) == 12
    assert reply.json["photos"][0]["name"].startswith(("old/", "new/"))  # where it lies beyond that is nobody's business


def test_near_duplicates_come_with_the_photo_they_resemble(photos, network_file, tmp_path):
    (photos / "copy.png").write_bytes((photos / "old/3.png").read_bytes())
    with serving(searcher_of(photos, network_file, tmp_path / "index")) as served:
        answer = served.ask("/search?k=12", bytes_of(drawing(1))).json["photos"]
        (group,) = [photo for photo in answer if photo["duplicates"]]
        names = {group["name"].split("/")[1], *(each["name"].split("/")[1] for each in group["duplicates"])}
        assert len(answer) == 12 and names == {"copy.png", "3.png"}
        assert served.ask("/" + group["duplicates"][0]["url"]).status == 200


def test_the_page_and_its_parts_are_there(served):
    page = served.ask("/")
    assert page.status == 200 and b"12 photos" in page.body and b'max="12"' in page.body
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    parts = re.findall(r'(?:src|href)="(static/[^"]+)"', page.body.decode())
    assert len(parts) == 13
    for part in parts:
        reply = served.ask(f"/{part}")
        assert reply.status == 200 and reply.headers["Cache-Control"] == "no-cache"
        assert served.ask(f"/{part}", If_None_Match=reply.headers["ETag"]).status == 304
    script = served.ask("/static/find.js", Accept_Encoding="gzip")
    assert gzip.decompress(script.body) == served.ask("/static/find.js").body


def bad_pictures():
    large = Image.new("1", (20_000, 20_000), 1)
    return {
        "no image": (b"GIF89a but no more", "not a readable picture"),
        "nothing": (b"", "not a readable picture"),
        "text": (b"hello " * 500, "not a readable picture"),
        "cut off": (bytes_of(drawing(1))[:300], "not a readable picture"),
        "20,000 x 20,000": (bytes_of(large), "too large"),
        "HEIC": (HEIC, "HEIC"),
        "empty": (bytes_of(Image.new("RGB", (80, 80), "white")), "drawing is empty"),
        "transparent": (bytes_of(Image.new("RGBA", (80, 80))), "drawing is empty"),
        "a program for Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not a readable picture"),
    }


def test_pictures_that_are_none_get_a_notice_and_the_server_goes_on(served):
    for name, (data, notice) in bad_pictures().items():
        for path in ("/search", "/picture"):
            reply = served.ask(path, data)
            assert reply.status == 400 and notice in reply.json["notice"], (name, path, reply.body)
            assert "\n" not in reply.json["notice"] and "0x" not in reply.json["notice"]
    assert served.ask("/search", bytes_of(drawing(2))).status == 200


def test_pictures_and_photos_in_heic_are_read(photos, network_file, tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    heic = bytes_of(drawing(3), "HEIF", quality=-1, chroma=444)
    (photos / "new/0.heic").write_bytes(heic)
    with serving(searcher_of(photos, network_file, tmp_path / "index")) as served:
        assert served.ask("/search", heic).status == served.ask("/picture", heic).status == 200
        id_ = id_of(served.searcher, photos / "new/0.heic")
        assert Image.open(io.BytesIO(served.ask(f"/photo/{id_}").body)).size == (200, 160)
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        reply = served.ask("/picture", heic)
        assert reply.status == 400 and "missing or too old: pip install 'pillow-heif>=1.5'. Or save" in reply.json["notice"]


def test_of_a_moving_picture_the_first_frame_is_taken_with_a_notice(served):
    moving = bytes_of(drawing(3), "GIF", save_all=True, append_images=[drawing(4)])
    still = served.ask("/search", bytes_of(drawing(3), "GIF"))
    reply = served.ask("/search", moving)
    assert reply.found == still.found and "first frame" in reply.json["notice"]
    assert "first frame" in served.ask("/picture", moving).headers["Notice"]


def test_an_uploaded_picture_comes_back_as_what_is_drawn_on_it(served):
    paper = Image.new("L", (900, 1200), 200)  # a grey sheet, a thin line in its corner
    paper.paste(40, (60, 70, 64, 470))
    paper.paste(40, (60, 466, 360, 470))
    reply = served.ask("/picture", bytes_of(paper, "JPEG"))
    drawn = Image.open(io.BytesIO(reply.body))
    assert reply.status == 200 and drawn.mode == "L"
    margin = 13
    assert abs(drawn.width - 2 * margin - 300) < 9 and abs(drawn.height - 2 * margin - 400) < 9
    assert drawn.getpixel((200, 100)) > 240 and drawn.getpixel((200, drawn.height - 3 - margin)) < 40
    of_paper, of_drawn = (dict(served.ask("/search", data).found) for data in (bytes_of(paper), reply.body))
    assert of_drawn == pytest.approx(of_paper, abs=0.01)


def test_what_is_too_much_is_refused(served):
    assert served.ask("/search", bytes(5_000_000)).status == 413
    assert served.ask("/picture", b"x", Content_Length="20000001").status == 413
    for k in ("0", "201", "-1", "many", "1e9"):
        reply = served.ask(f"/search?k={k}", bytes_of(drawing(1)))
        assert reply.status == 422 and reply.json["notice"] == "K: must be a number from 1 to 200."
    assert served.ask("/search?codes=maybe", bytes_of(drawing(1))).status == 422
    assert served.ask("/like/9999999").json["notice"] == "That photo is no longer in the index; search again."
    assert served.ask("/like/" + "9" * 40).status in (400, 404, 422)


def test_of_a_photo_nothing_but_its_pixels_is_sent(photos, network_file, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.new("RGB", (3000, 2000), "teal").save(photos / "new" / "large.jpg", exif=exif, comment=SECRET)
    searcher = searcher_of(photos, network_file, tmp_path / "index")
    with serving(searcher) as served:
        id_ = next(hit.id for hit in again(searcher).of_drawing(drawing(0), 13) if hit.path.endswith("large.jpg"))
        for query, size in (("", (256, 171)), ("?side=1280", (1280, 853))):
            reply = served.ask(f"/photo/{id_}{query}")
            sent = Image.open(io.BytesIO(reply.body))
            assert reply.headers["Content-Type"] == "image/jpeg" and sent.size == size and not sent.getexif()
            assert b"home" not in reply.body and SECRET not in reply.body
        assert served.ask(f"/photo/{id_}?side=5000").status == 404


def hostile_paths(secret, photo):
    climbs = ["..", "%2e%2e", "%252e%252e", "..%2f..", "..%5c..", "....//", "%c0%ae%c0%ae", "..;", ".%00."]
    files = [str(secret), str(secret).replace("/", "%2f"), "/" + str(secret), f"file://{secret}", "/etc/passwd", str(photo)]
    for climb in climbs:
        deep = "/".join([climb] * 12)
        for root in ("photo", "static", "static/examples", "like", "file="):
            yield f"/{root}/{deep}{secret}"
            yield f"/{root}/{deep}/etc/passwd"
        yield f"/{deep}{secret}"
    for file in files:
        for root in ("photo/", "static/", "static/examples/", "static//", "", "file=", "proxy="):
            yield f"/{root}{file}"
        yield f"/photo/1?side=256&path={file}"
    yield from (
        "/photo/-1",
        "/photo/0",
        "/photo/1.0",
        "/photo/1/",
        "/photo/" + "9" * 30,
        "/photo/1%00",
        "/photo/1;",
        "/photo/%EF%BC%91",
    )
    yield from (
        "/openapi.json",
        "/docs",
        "/static",
        "/static/",
        "/static/examples",
        "/static/../service.py",
        "/static/..%2fservice.py",
    )


def test_no_path_leads_to_a_file_that_is_not_indexed(served, photos, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_bytes(SECRET)
    ours = {served.ask(f"/photo/{id_}").body for id_ in range(1, 13)}
    tried = 0
    for path in hostile_paths(secret, photos / "old" / "1.png"):
        reply = served.ask(path)
        assert reply.status in (400, 404) or reply.body in ours, (path, reply.status)
        assert SECRET not in reply.body and b"root:" not in reply.body and b"PNG" not in reply.body
        tried += 1
    assert tried > 100
    for path in ("/", "/photo/1", "/static/find.js", "/upload", "/login"):
        assert served.ask(path, b"{}").status in (404, 405), path


def odd_paths():
    for root in ("", "static/", "static/examples/", "photo/", "like/"):
        for tail in (
            "x" * 300,
            "x" * 10_000,
            "1" * 5_000,
            "x/" * 120,
            "%00",
            "a%00b",
            "%ed%b2%80",
            "%ff",
            ".",
            "..",
            "...",
            "a//b",
            "%0a",
        ):
            yield f"/{root}{tail}"


def test_odd_paths_are_not_found(served):
    statuses = {path: served.ask(path).status for path in odd_paths()}
    assert {path: status for path, status in statuses.items() if not 400 <= status < 500} == {}
    assert served.ask("/").status == 200


def test_links_lead_nowhere_but_to_what_was_indexed(photos, network_file, tmp_path):
    other, text = tmp_path / "other.png", tmp_path / "secret.txt"
    drawing(9).save(other)
    text.write_bytes(SECRET)
    (photos / "old" / "link.png").symlink_to(photos / "old" / "1.png")
    searcher = searcher_of(photos, network_file, tmp_path / "index")
    ids = {hit.path: hit.id for hit in again(searcher).of_drawing(drawing(0), 13)}
    one, two, three, four, link = (str(photos / "old" / f"{name}.png") for name in (1, 3, 5, 7, "link"))
    with serving(searcher) as served:
        assert served.ask(f"/photo/{ids[link]}").status == 200
        for path, target in ((one, other), (two, text), (three, tmp_path)):
            os.unlink(path)
            os.symlink(target, path)
            assert served.ask(f"/photo/{ids[path]}").status == 404
        assert served.ask(f"/photo/{ids[link]}").status == 404  # the link now leads on to another picture
        os.unlink(four)
        os.mkfifo(four)
        assert served.ask(f"/photo/{ids[four]}").status == 404


def test_a_link_in_a_photos_place_is_not_followed_though_size_and_time_are_the_same(served, photos, tmp_path):
    photo, private = photos / "old" / "1.png", tmp_path / "private.png"
    id_ = id_of(served.searcher, photo)
    shutil.copy2(photo, private)  # with its time
    photo.unlink()
    photo.symlink_to(private)
    assert served.ask(f"/photo/{id_}").status == 404


def test_a_folder_that_became_a_link_is_not_followed(served, photos, tmp_path):
    photo = photos / "old" / "1.png"
    id_ = id_of(served.searcher, photo)
    shutil.copytree(photos / "old", tmp_path / "private")  # with sizes and times
    (photos / "old").rename(tmp_path / "aside")
    (photos / "old").symlink_to(tmp_path / "private")
    assert served.ask(f"/photo/{id_}").status == 404


def test_photos_behind_a_linked_folder_that_was_named_are_shown(photos, network_file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(photos)
    with serving(searcher_of(link, network_file, tmp_path / "index")) as served:
        assert {served.ask(f"/photo/{id_}").status for id_ in range(1, 13)} == {200}
        link.unlink()
        shutil.copytree(photos, tmp_path / "private")
        link.symlink_to(tmp_path / "private")
        assert {served.ask(f"/photo/{id_}").status for id_ in range(1, 13)} == {404}


def test_a_photo_that_has_changed_is_shown_and_a_text_in_its_place_is_not(served, photos):
    path = photos / "old" / "1.png"
    id_ = id_of(served.searcher, path)
    drawing(9).save(path)
    assert served.ask(f"/photo/{id_}").status == 200
    path.write_bytes(SECRET)
    assert served.ask(f"/photo/{id_}").status == 404
    path.unlink()
    assert served.ask(f"/photo/{id_}").status == 404


def test_without_the_password_nothing_is_given(searcher):
    def basic(text):
        return "Basic " + base64.b64encode(text.encode()).decode()

    paths = ["/", "/photo/1", "/like/1", "/static/pad.js", "/nothing"]
    with serving(searcher, "ann:päss:word", None) as served:
        for wrong in ({}, *({"Authorization": value} for value in (basic("ann:"), basic("ann:pass"), "Basic !", "Bearer x"))):
            for path in paths:
                assert served.ask(path, **wrong).status == 401
            assert served.ask("/search", bytes_of(drawing(1)), **wrong).status == 401
        assert served.ask("/").headers["WWW-Authenticate"].startswith("Basic ")
        right = {"Authorization": basic("ann:päss:word")}
        assert [served.ask(path, **right).status for path in paths] == [200] * 4 + [404]
        assert served.ask("/search", bytes_of(drawing(1)), **right).status == 200


def test_another_site_reads_nothing(served):
    assert served.ask("/photo/1", Host="photos.example").status == 421
    assert served.ask("/photo/1", Host=f"localhost:{served.port}").status == 200
    assert served.ask("/photo/1", Sec_Fetch_Site="cross-site").status == 403
    reply = served.ask("/photo/1", Origin="http://photos.example")
    assert reply.headers["Access-Control-Allow-Origin"] is None
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.slow
def test_twenty_visitors_at_once_each_get_their_own(served):
    direct = again(served.searcher)
    wanted = [expected(direct.of_drawing(drawing(seed), 12)) for seed in range(20)]
    assert len({tuple(found) for found in wanted}) == 20

    def visit(seed):
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            reply = served.ask("/search?k=12", bytes_of(drawing(seed)))
            seconds.append(time.perf_counter() - started)
            assert reply.found == wanted[seed]
            assert served.ask(f"/photo/{reply.found[0][0]}").status == 200
        return seconds

    with ThreadPoolExecutor(20) as pool:
        seconds = [second for visitor in pool.map(visit, range(20)) for second in visitor]
    print(f"median answer to one of 20 visitors: {statistics.median(seconds) * 1000:.0f} ms")


def test_what_another_process_does_to_the_index_is_seen(served, photos):
    body = bytes_of(drawing(1))
    first = served.ask("/search", body).json["photos"][0]
    other = again(served.searcher).store
    other.remove(other.photos_of([int(first["id"])]).values())
    assert int(first["id"]) not in [id_ for id_, _ in served.ask("/search", body).found]
    assert served.ask(f"/photo/{first['id']}").status == 404
    second = served.ask("/search", body).json["photos"][0]
    os.unlink(photos / second["name"])
    reply = served.ask("/search", body)
    assert len(reply.found) == 10 and reply.json["notice"] is None
    other.remove(other.known().values())
    reply = served.ask("/search", body)
    assert reply.found == [] and "No photo was found" in reply.json["notice"]


def test_what_goes_wrong_inside_is_a_notice_and_no_more(served, monkeypatch):
    monkeypatch.setattr(served.searcher, "of_drawing", lambda *_, **__: 1 / 0)
    reply = served.ask("/search", bytes_of(drawing(1)))
    assert reply.status == 500 and "ZeroDivisionError" in reply.json["notice"]
    monkeypatch.undo()
    assert served.ask("/search", bytes_of(drawing(1))).status == 200


def refused(run_script, *words):
    code, _, err = run_script("search.py", "serve", *words)
    assert code == 2 and "Traceback" not in err and len(err.strip().splitlines()) == 1
    return err


def test_mistakes_get_one_line(searcher, run_script, tmp_path, monkeypatch):
    index = ["--index", searcher.store.folder]
    assert "no index there" in refused(run_script, "--index", tmp_path / "none")
    assert "must be USER:PASSWORD" in refused(run_script, *index, "--auth", "ann")
    monkeypatch.setenv("DSN_AUTH", ":secret")
    assert refused(run_script, *index).startswith("error: DSN_AUTH: must be USER:PASSWORD;")
    monkeypatch.delenv("DSN_AUTH")
    assert "a port from 0 to 65535" in refused(run_script, *index, "--port", "70000")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        assert "choose another port" in refused(run_script, *index, "--port", taken.getsockname()[1])
    assert "choose an address of this machine" in refused(run_script, *index, "--host", "192.0.2.1")
    unknown = refused(run_script, *index, "--host", "nosuch.invalid")
    assert "--host nosuch.invalid: cannot be used" in unknown and "port" not in unknown

    monkeypatch.setitem(sys.modules, "photo_search.service", None)
    monkeypatch.delattr("photo_search.service")
    assert "pip install starlette uvicorn" in refused(run_script, *index)


def test_while_the_network_loads_drawings_wait_and_everything_else_is_answered(searcher):
    with serving(Searcher(searcher.store)) as served, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.ask, "/search?k=5", bytes_of(drawing(1)))
        assert [served.ask(path).status for path in ("/", "/static/find.js", "/photo/1", "/like/1")] == [200] * 4
        assert not waiting.done()
        served.searcher.loaded.set_result(searcher.network)
        assert waiting.result().found == expected(again(searcher).of_drawing(drawing(1), 5))


def serve_on(listener, searcher, load):
    serve(Searcher(searcher.store), load, listener, "127.0.0.1", None)


def test_the_server_stops_if_the_network_cannot_be_loaded(searcher):
    with listening("127.0.0.1", 0) as listener, ThreadPoolExecutor(1) as pool:
        page, waiting = Served(listener.getsockname()[1], searcher), []

        def load():
            waiting.append(pool.submit(page.ask, "/search", bytes_of(drawing(1))))
            assert page.ask("/").status == 200
            raise InputError("the file is damaged")

        with pytest.raises(InputError, match="the file is damaged"):
            serve_on(listener, searcher, load)
        reply = waiting[0].result()
        assert reply.status == 503 and reply.json["notice"] == "The server is stopping."


def test_the_terminal_shows_the_address_then_the_engine_and_ctrl_c_ends_the_server(searcher, capsys):
    with listening("127.0.0.1", 0) as listener, ThreadPoolExecutor(1) as pool:
        page = Served(listener.getsockname()[1], searcher)

        def visit():
            reply = page.ask("/search", bytes_of(drawing(1)))
            interrupt_main()
            return reply

        visitors = []

        def load():
            visitors.append(pool.submit(visit))
            return searcher.network

        serve_on(listener, searcher, load)
        assert visitors[0].result().status == 200
    address, loading, engine, _, end = capsys.readouterr().out.splitlines()
    assert (
        address == f"draw at {page.address} (Ctrl-C ends it)"
        and loading.startswith("loading")
        and engine.startswith("searching by ")
        and end == "ended"
    )


def test_a_checkpoint_that_is_missing_is_reported_before_the_page_is_served(searcher, run_script, tmp_path):
    (tmp_path / "damaged.pth.tar").write_bytes(b"no checkpoint")
    for name, is_served in (("missing", False), ("damaged", True)):
        words = ["--index", searcher.store.folder, "--port", 0, "--checkpoint", tmp_path / f"{name}.pth.tar"]
        code, out, err = run_script("search.py", "serve", *words)
        assert code == 2 and err.startswith("error: ") and name in err and len(err.splitlines()) == 1
        assert ("draw at" in out) == is_served


def test_strangers_without_a_password_are_warned_of(searcher, run_script, monkeypatch):
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("photo_search.commands.serve.open_network", lambda *_: searcher.network)
    words = ["serve", "--index", searcher.store.folder, "--port", 0]
    anywhere = ["--host", "0.0.0.0"]
    for more, known, is_warned in (
        ([], "", False),
        (anywhere, "", True),
        (anywhere, "a:b", False),
        ([*anywhere, "--auth", "a:b"], "", False),
    ):
        monkeypatch.setenv("DSN_AUTH", known)
        code, out, err = run_script("search.py", *words, *more)
        assert code == 0, err
        assert ("warning: --host 0.0.0.0" in out) == is_warned and "draw at http://" in out
