"""The page in Chromium: drawn on with a mouse, a finger and the keyboard."""

import os
import shutil
import time

import pytest

pytest.importorskip("faiss")
pytest.importorskip("starlette")
pytest.importorskip("playwright")

from PIL import Image
from playwright.sync_api import sync_playwright

from photo_search.searching import Searcher
from tests.helpers.photos import write_photos
from tests.helpers.serving import bytes_of, drawing, searcher_of, serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install it, or name it in CHROMIUM"),
]

WORDS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run")
LINE = ((0.2, 0.2), (0.8, 0.3), (0.6, 0.8))
UPWARDS = ((0.5, 0.9), (0.6, 0.5), (0.5, 0.1))  # by which a page would scroll
OTHER = ((0.1, 0.9), (0.5, 0.1), (0.9, 0.9), (0.1, 0.5))
PHOTOS = "#found .photo"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(WORDS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(network_file, tmp_path_factory):
    """One server for all tests that leave its index as it is."""
    folder = tmp_path_factory.mktemp("served")
    with serving(searcher_of(write_photos(folder / "photos"), network_file, folder / "index")) as page:
        yield page


@pytest.fixture
def visit(browser):
    """Opens the page as a new visitor; a JavaScript error or a breach of the content security policy fails the test."""
    visitors, faults = [], []

    def opened(served, **how):
        visitor = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **how})
        visitors.append(visitor)
        page = visitor.new_page()
        page.set_default_timeout(20_000)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: "Content Security Policy" in line.text and faults.append(line.text))
        page.goto(served.address)
        wait_until(page, "document.querySelector('#pad canvas')?.width > 200 && document.querySelector('#found .photos')")
        return page

    yield opened
    for visitor in visitors:
        visitor.close()
    assert not faults


def wait_until(page, expression):
    """Polls, for `page.wait_for_function` needs an `eval` that the page forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def at(page, points):
    wait_until(page, "getComputedStyle(document.querySelector('#pad canvas')).touchAction === 'none'")  # page.css has come
    canvas, box = page.locator("#pad canvas"), None
    while box != (box := canvas.bounding_box()):  # until the page has settled
        page.wait_for_timeout(50)
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def pen_down(page, points):
    first, *others = at(page, points)
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point, steps=4)
    page.wait_for_selector("#found .photos[aria-busy]", state="attached")  # the pad has noticed


def draw(page, points=LINE):
    pen_down(page, points)
    page.mouse.up()
    return found(page)


def swipe(page, points):
    finger = page.context.new_cdp_session(page)
    first, *others = [[{"x": x, "y": y}] for x, y in at(page, points)]
    for kind, touch in (("touchStart", first), *(("touchMove", other) for other in others), ("touchEnd", [])):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touch})
    finger.detach()


def found(page):
    """[(id, similarity)] once what is shown is settled."""
    wait_until(page, "!document.querySelector('#found .photos').hasAttribute('aria-busy')")
    cards = page.locator(PHOTOS)
    ids = cards.evaluate_all("all => all.map(each => each.dataset.id)")
    return list(zip(ids, cards.locator(".similarity").all_text_contents(), strict=True))


def choose_number(page, k):
    """Without moving the mouse or the focus."""
    change = "(input, k) => { input.value = k; input.dispatchEvent(new Event('change')); }"
    page.locator("#k input[type=number]").evaluate(change, k)


def notice(page):
    page.wait_for_selector("#found .notice:not([hidden])")
    return page.locator("#found .notice").text_content()


def asked_for(page, what):
    return [request for request in page.asked if f"/{what}" in request.url]


def picture_file(content, name="drawing.png"):
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_while_the_network_loads_the_status_line_says_so(served, visit):
    with serving(Searcher(served.searcher.store)) as loading:
        page = visit(loading)
        pen_down(page, LINE)
        page.mouse.up()
        wait_until(page, "document.querySelector('#found .status').textContent.includes('loads its network')")
        loading.searcher.loaded.set_result(served.searcher.network)
        assert len(found(page)) == 12 and "12 photos" in page.locator("#found .status").text_content()


def test_each_stroke_is_asked_once_and_changes_what_is_found(served, visit):
    page = visit(served)
    assert found(page) == []
    one = draw(page)
    two = draw(page, OTHER)
    assert len(one) == len(two) == 12 and one != two
    assert len(asked_for(page, "search")) == 2
    similarities = [float(text) for _, text in two]
    assert similarities == sorted(similarities, reverse=True)
    wait_until(page, "Array.from(document.querySelectorAll('#found .view img')).some(each => each.naturalWidth > 0)")
    assert all(request.url.startswith((served.address, "data:", "blob:")) for request in page.asked)


def test_a_touch_is_a_dot_and_an_eraser_alone_draws_nothing(served, visit):
    page = visit(served)
    page.get_by_role("button", name="Eraser").click()
    assert draw(page) == []
    page.get_by_role("button", name="Pen").click()
    (spot,) = at(page, [(0.5, 0.5)])
    page.mouse.click(*spot)
    page.wait_for_selector(PHOTOS)
    assert len(found(page)) == 12 and page.locator("#found .notice").is_hidden()


def test_nothing_is_shown_while_the_pen_is_down(served, visit):
    page = visit(served)
    draw(page)
    pen_down(page, OTHER)
    choose_number(page, 4)
    page.wait_for_timeout(600)
    assert page.locator(PHOTOS).count() == 0
    page.mouse.up()
    assert len(found(page)) == 4


def test_an_upload_outlives_a_change_of_what_is_asked(served, visit):
    page = visit(served)
    draw(page)
    page.route("**/picture", lambda route: (time.sleep(1), route.continue_()))
    page.locator("#pad input[type=file]").set_input_files(picture_file(bytes_of(drawing(5))))
    choose_number(page, 4)
    page.wait_for_timeout(1500)
    uploaded = found(page)
    page.get_by_role("button", name="Undo").click()
    assert len(uploaded) == 4 and found(page) != uploaded  # it was on the pad


def test_another_index_at_the_same_address_shows_its_own_photos(photos, network_file, tmp_path, visit):
    addresses = []
    for number in (1, 2):
        searcher = searcher_of(photos, network_file, tmp_path / f"index {number}")
        with serving(searcher) as served:
            answers = served.ask("/search", bytes_of(drawing(1))).json["photos"]
            addresses.append({photo["url"] for photo in answers})
            assert "max-age" in served.ask("/" + answers[0]["url"]).headers["Cache-Control"]
            assert served.ask(f"/photo/{answers[0]['id']}").headers["Cache-Control"] == "no-store"
    assert not addresses[0] & addresses[1]


def test_undo_clear_and_eraser(served, visit):
    page = visit(served)
    one = draw(page)
    two = draw(page, OTHER)
    page.get_by_role("button", name="Undo").click()
    assert found(page) == one
    draw(page, OTHER)
    page.keyboard.press("Control+z")
    assert found(page) == one
    draw(page, OTHER)
    page.get_by_role("button", name="Eraser").click()
    erased = draw(page, OTHER)
    assert erased not in (one, two)
    page.get_by_role("button", name="Clear").click()
    assert found(page) == []
    page.get_by_role("button", name="Undo").click()
    assert found(page) == erased


def test_an_uploaded_picture_is_drawn_on_and_what_is_none_gets_a_notice(served, visit):
    page = visit(served)
    choose = page.locator("#pad input[type=file]")
    one = draw(page)
    for content, words in (
        (b"not a picture", "not a readable picture"),
        (bytes_of(Image.new("RGB", (50, 50), "white")), "empty"),
    ):
        choose.set_input_files(picture_file(content))
        assert words in notice(page)
        assert found(page) == one  # the drawing stays, and what it finds
    choose.set_input_files(picture_file(bytes_of(drawing(5))))
    wait_until(page, "document.querySelector('#found .notice').hidden")
    uploaded = found(page)
    assert uploaded and uploaded != one
    assert draw(page, OTHER) != uploaded


def test_a_picture_may_be_pasted_or_dropped(served, visit):
    page = visit(served)
    give = """([kind, numbers]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(numbers)], "drawing.png", { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        document.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, { clipboardData: files, ...options })
            : new DragEvent(kind, { dataTransfer: files, ...options }));
    }"""
    results = []
    for kind, seed in (("paste", 5), ("drop", 6)):
        before = len(asked_for(page, "search"))
        page.evaluate(give, [kind, list(bytes_of(drawing(seed)))])
        while len(asked_for(page, "search")) == before:
            page.wait_for_timeout(20)
        page.wait_for_selector(PHOTOS)
        results.append(found(page))
    assert results[0] and results[1] and results[0] != results[1]


def test_by_codes_and_as_many_as_wished(served, visit):
    page = visit(served)
    real = draw(page)
    page.get_by_label("Hash").check()
    wait_until(page, "document.querySelector('#found .similarity')?.textContent.startsWith('≈')")
    codes = found(page)
    estimates = [(id_, text.removeprefix("≈ ")) for id_, text in codes]
    assert len(codes) == 12 and estimates != real and all(-1 <= float(text) <= 1 for _, text in estimates)
    page.locator("#k input[type=number]").fill("3")
    page.locator("#k input[type=number]").press("Enter")
    wait_until(page, "document.querySelectorAll('#found .photo').length === 3")
    assert found(page) == codes[:3]
    page.get_by_label("Real").check()
    wait_until(page, "document.querySelector('#found .similarity')?.textContent.startsWith('≈') === false")
    assert found(page) == real[:3]


def test_the_control_shows_the_number_of_photos_that_is_used(served, visit):
    page = visit(served)
    draw(page)
    number, slider = page.locator("#k input[type=number]"), page.locator("#k input[type=range]")
    assert (number.input_value(), slider.input_value()) == ("12", "12")  # no more than there are
    for typed, used in (("0", "1"), ("-3", "1"), ("999", "12"), ("4.4", "4"), ("", "4"), ("1e9", "12"), ("7", "7")):
        number.fill(typed)
        number.press("Enter")
        assert (number.input_value(), slider.input_value()) == (used, used)
    wait_until(page, "document.querySelectorAll('#found .photo').length === 7")
    slider.focus()
    slider.press("ArrowLeft")
    wait_until(page, "document.querySelectorAll('#found .photo').length === 6")
    assert number.input_value() == "6"
    assert all(1 <= int(request.url.partition("k=")[2].partition("&")[0]) <= 12 for request in asked_for(page, "search"))


def test_less_similar_photos_are_hidden(served, visit):
    page = visit(served)
    number, slider = page.locator("#least input[type=number]"), page.locator("#least input[type=range]")
    shown, status = page.locator(f"{PHOTOS}:visible"), page.get_by_role("status")
    photos = draw(page)
    least = round(float(photos[3][1]) - 0.01, 2)
    number.fill(str(least))
    number.press("Enter")
    left = [photo for photo in photos if float(photo[1]) >= least]
    assert 0 < len(left) < 12 and shown.count() == len(left)
    assert status.text_content() == f"{len(left)} photos, the most similar first; {12 - len(left)} below {least:.2f} hidden"
    shown.last.locator(".view").click()
    assert page.locator(".large p").text_content().startswith(f"{len(left)} of {len(left)}: ")
    page.keyboard.press("ArrowRight")
    assert page.locator(".large p").text_content().startswith("1 of ")
    page.keyboard.press("Escape")
    slider.press("End")
    assert number.input_value() == "1" and shown.count() == 0 and len(asked_for(page, "search")) == 1
    assert status.text_content() == "No photo has a similarity of 1.00 or more: all 12 are hidden."
    assert "Lower “Least similarity”" in page.locator("#found .none").inner_text()
    slider.press("ArrowLeft")
    assert number.input_value() == "0.99"
    number.fill("-1")
    number.press("Enter")
    assert found(page) == photos and shown.count() == 12
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#found .none").inner_text() == "Photos appear here, the most similar first."


def test_near_duplicates_are_opened_and_closed(photos, network_file, tmp_path, visit):
    for copy in range(3):
        (photos / f"copy {copy}.png").write_bytes((photos / "old/3.png").read_bytes())
    with serving(searcher_of(photos, network_file, tmp_path / "index")) as served:
        page = visit(served, viewport={"width": 360, "height": 740})
        one = draw(page)
        more = page.locator("#found .more")
        assert len(one) == 12 and more.count() == 1 and more.bounding_box()["height"] >= 40
        more.focus()
        assert more.get_attribute("aria-expanded") == "false" and "+3 similar to " in more.text_content()
        page.keyboard.press("Enter")
        assert page.locator(PHOTOS).count() == 15 and page.locator(f"{PHOTOS}.duplicate").count() == 3
        assert more.get_attribute("aria-expanded") == "true" and "Hide 3 similar to " in more.text_content()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#found .duplicate .view").first.click()
        assert " of 15: " in page.locator(".large p").text_content()
        page.keyboard.press("Escape")
        more.focus()
        page.keyboard.press("Enter")
        assert found(page) == one and "+3 similar" in more.text_content()


def keys_on_the_pad(page, *keys):
    page.get_by_role("application", name="Drawing").focus()
    for key in keys:
        page.keyboard.press(key)


def test_the_keyboard_draws_undoes_and_clears(served, visit):
    page = visit(served)
    page.keyboard.press("Tab")  # so that the browser shows where the focus is
    keys_on_the_pad(page, "ArrowLeft")
    assert page.locator("#keys").bounding_box()["height"] > 10
    style = "getComputedStyle(document.querySelector('#pad canvas')).outlineStyle"
    assert page.evaluate(style) == "solid"
    keys_on_the_pad(page, "Shift+ArrowLeft", "Space", "Shift+ArrowDown", "ArrowRight")
    assert len(asked_for(page, "search")) == 0  # the pen is down
    keys_on_the_pad(page, "Space")
    one = found(page)
    assert len(one) == 12
    keys_on_the_pad(page, "Shift+ArrowUp", "Space", "Shift+ArrowRight", "Shift+ArrowRight", "Escape")
    two = found(page)
    assert two != one and len(asked_for(page, "search")) == 2
    keys_on_the_pad(page, "Control+z")
    assert found(page) == one
    keys_on_the_pad(page, "Delete")
    assert found(page) == []
    keys_on_the_pad(page, "Control+z")
    assert found(page) == one


FOCUSED = """() => {
    const element = document.activeElement, style = getComputedStyle(element), label = element.closest("label");
    const outlined = [style, label && getComputedStyle(label)].some((each) => each?.outlineStyle === "solid");
    const name = element.getAttribute("aria-label") ?? element.querySelector("img")?.alt ?? (label ?? element).textContent;
    return [element === document.body ? null : name.trim(), outlined];
}"""
TAB_ORDER = [
    "Skip to the photos",
    "Dark theme",
    *("Pen", "Eraser", "Line width", "Undo", "Clear", "Drawing", "Upload a picture"),
    *("apple", "teapot", "scissors", "bell", "bicycle", "umbrella", "key", "mug"),
    *("Real", "Photos", "Number of photos, 1 to 12", "Least similarity", "Least similarity, -1 to 1"),
]


def tab_stops(page, key, times):
    """Names of the elements that Tab reaches; each must show the focus."""
    names = []
    for _ in range(times):
        page.keyboard.press(key)
        name, is_outlined = page.evaluate(FOCUSED)
        assert is_outlined or name is None, name
        names.append(name)
    return names


def test_tab_reaches_each_control_in_order_and_leaves_the_page(served, visit):
    page = visit(served)
    assert tab_stops(page, "Tab", len(TAB_ORDER) + 1) == [*TAB_ORDER, None]
    assert tab_stops(page, "Shift+Tab", len(TAB_ORDER)) == TAB_ORDER[::-1]
    choose_number(page, 3)
    page.locator("[data-example=teapot]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(PHOTOS)
    names = page.locator("#found .view img").evaluate_all("all => all.map(each => each.alt)")
    page.locator("#least input[type=number]").focus()
    assert tab_stops(page, "Tab", 7) == [*(text for name in names for text in (name, f"Similar to {name}")), None]


def test_the_keyboard_opens_browses_and_closes_the_large_view(served, visit):
    page = visit(served)
    page.keyboard.press("Tab")
    page.locator("[data-example=teapot]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(PHOTOS)
    names = page.locator("#found .view img").evaluate_all("all => all.map(each => each.alt)")
    page.locator("#found .view").nth(1).focus()
    page.keyboard.press("Enter")
    large = page.locator(".large")
    assert page.evaluate(FOCUSED) == ["Close", True]
    assert large.locator("p").text_content() == f"2 of 12: {names[1]}"
    for key, index in (("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 11)):
        page.keyboard.press(key)
        assert large.locator("img").get_attribute("alt") == names[index]
    page.keyboard.press("Escape")
    assert large.is_hidden() and page.evaluate(FOCUSED) == [names[1], True]  # back where it was
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert len(found(page)) == 11 and page.evaluate(FOCUSED)[0] == "Photos like this one"
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == ["Back to the drawing", True]
    page.keyboard.press("Enter")
    assert len(found(page)) == 12 and page.evaluate(FOCUSED)[0] == "Photos like your drawing"


def test_screen_readers_hear_what_was_found_and_what_is_on_the_pad(served, visit):
    page = visit(served)
    assert "upload a picture or choose an example" in page.locator("#drawn").text_content()
    draw(page)
    assert page.get_by_role("status").text_content() == "12 photos, the most similar first"
    assert page.get_by_role("list", name="Photos like your drawing").get_by_role("listitem").count() == 12
    page.locator("[data-example=teapot]").click()
    draw(page, OTHER)
    assert page.locator("#drawn").text_content() == "On the pad: a picture and 1 stroke."
    unnamed = page.locator("button, input, canvas").evaluate_all(
        """all => all.filter(each => !each.getAttribute("aria-label") && !(each.closest("label") ?? each).textContent.trim()
            && !each.querySelector("img[alt]:not([alt=''])"))"""
    )
    assert unnamed == []


def test_nothing_moves_as_photos_arrive(served, visit):
    for width in (360, 1280):
        page = visit(served, viewport={"width": width, "height": 900})
        at(page, [])
        page.evaluate("""() => {
            window.moved = 0;
            const add = (list) => list.getEntries().forEach((entry) => { window.moved += entry.value; });
            new PerformanceObserver(add).observe({ type: "layout-shift" });
        }""")
        for points in (LINE, OTHER):
            draw(page, points)
            page.wait_for_timeout(300)
        assert page.evaluate("window.moved") == 0


def test_less_motion_where_it_is_wished(served, visit):
    for wish, name in (("no-preference", "pulse"), ("reduce", "none")):
        page = visit(served, reduced_motion=wish)
        draw(page)
        pen_down(page, OTHER)
        assert page.locator(".blank").first.evaluate("each => getComputedStyle(each).animationName") == name
        page.mouse.up()


def test_a_mark_for_the_keys_is_no_part_of_the_drawing(served, visit):
    page, other = visit(served), visit(served)
    for each in (page, other):
        each.locator("[data-example=teapot]").click()
        each.wait_for_selector(PHOTOS)
    keys_on_the_pad(page, "ArrowLeft")
    page.get_by_label("Hash").check()
    page.get_by_label("Real").check()
    page.wait_for_selector(PHOTOS)
    assert found(page) == found(other)


@pytest.mark.parametrize("how", ["reload", "back"])
def test_a_drawing_outlives_a_reload_until_it_is_cleared(served, visit, how):
    def again():
        if how == "reload":
            page.reload()
        else:
            page.goto(f"{served.address}/static/page.css")
            page.go_back()
        wait_until(page, "document.querySelector('#pad canvas')?.width > 200 && document.querySelector('#found .photos')")

    page = visit(served)
    page.locator("#pad input[type=file]").set_input_files(picture_file(bytes_of(drawing(5))))
    page.wait_for_selector(PHOTOS)
    drawn = draw(page, OTHER)
    again()
    page.wait_for_selector(PHOTOS)
    assert [id_ for id_, _ in found(page)] == [id_ for id_, _ in drawn]
    page.get_by_role("button", name="Clear").click()
    assert found(page) == []
    again()
    page.wait_for_timeout(500)
    assert found(page) == [] and page.evaluate("sessionStorage.getItem('drawing')") is None


def test_a_drawing_that_is_too_long_to_be_kept_leaves_no_older_one(served, visit):
    page = visit(served)
    draw(page)
    assert 0 < page.evaluate("sessionStorage.getItem('drawing').length") < 5_000
    page.evaluate("""async () => {
        const { Pad } = await import("/static/pad.js");
        Object.defineProperty(Pad.prototype, "rounded", { value: () => "x".repeat(3e6) });
    }""")
    draw(page, OTHER)
    assert page.evaluate("sessionStorage.getItem('drawing')") is None


def test_photos_like_one_that_was_found(served, visit):
    page = visit(served)
    one = draw(page)
    page.locator(PHOTOS).nth(1).get_by_role("button", name="Similar").click()
    page.wait_for_selector("#found .query-photo:not([hidden])")
    like = found(page)
    assert len(like) == 11 and one[1][0] not in dict(like)
    page.get_by_role("button", name="Back to the drawing").click()
    assert found(page) == one
    page.locator("#found .view").first.click()
    assert page.locator(".large").is_visible()
    page.locator(".large").get_by_role("button", name="Find photos like this one").click()
    assert one[0][0] not in dict(found(page)) and not page.locator(".large").is_visible()
    assert draw(page, OTHER) and page.locator("#found .query-photo").is_hidden()  # drawing on leads back to the drawing


def test_an_example_is_a_drawing_like_any_other(served, visit):
    page = visit(served)
    page.locator("[data-example=teapot]").click()
    page.wait_for_selector(PHOTOS)
    teapot = found(page)
    assert draw(page, OTHER) != teapot


def test_no_answer_to_an_older_drawing_is_shown(served, visit):
    page = visit(served)
    held = []
    page.route("**/search?*", lambda route: held.append(route))
    pen_down(page, LINE)
    page.mouse.up()
    while len(held) < 1:
        page.wait_for_timeout(20)
    late = held[0].fetch()
    pen_down(page, OTHER)  # the pen is down again: the first question is void
    held[0].fulfill(response=late)
    page.wait_for_timeout(300)
    assert page.locator(PHOTOS).count() == 0
    page.mouse.up()
    while len(held) < 2:
        page.wait_for_timeout(20)
    page.wait_for_timeout(300)
    assert page.locator(PHOTOS).count() == 0
    held[1].continue_()
    page.wait_for_selector(PHOTOS)
    shown = found(page)
    assert [(id_, float(text)) for id_, text in shown] != [(each["id"], each["similarity"]) for each in late.json()["photos"]]
    pen_down(page, LINE)
    assert page.locator(PHOTOS).count() == 0  # and what was found before goes as the pen comes down
    page.mouse.up()


def test_two_visitors_see_their_own(served, visit):
    one, two = visit(served), visit(served)
    first, second = draw(one), draw(two, OTHER)
    assert first != second
    assert found(one) == first and found(two) == second


def test_a_narrow_screen_and_a_finger(served, visit):
    page = visit(served, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    swipe(page, LINE)
    page.wait_for_selector(PHOTOS)
    one = found(page)
    assert len(one) == 12 and page.evaluate("document.documentElement.scrollHeight - innerHeight") > 100
    swipe(page, UPWARDS)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == 0 and found(page) != one
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for control in page.locator("button:visible, input:visible:not([type=file]):not(.width), .upload, .choice label").all():
        box = control.bounding_box()
        assert box["height"] >= 40 and box["width"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 360


CUT_OFF = """() => Array.from(document.querySelectorAll("#top *, #pad *, #found *"))
    .filter((each) => !each.children.length && (each.textContent.trim() || each.matches("input, canvas")))
    .filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== "inline"
        || each.getBoundingClientRect().right > innerWidth || each.getBoundingClientRect().left < 0)
    .filter((each) => !each.matches("[type=file], .unseen") && each.getClientRects().length)
    .map((each) => `${each.tagName} ${each.textContent}`)"""


COVERED_BY_THE_HINT = """() => {
    const hint = document.querySelector("#keys").getBoundingClientRect();
    const others = document.querySelectorAll("#top *, #pad :is(button, input, canvas, label, legend, span, img), #found *");
    return Array.from(others).filter((each) => !each.matches("[type=file]")).filter((each) => {
        const box = each.getBoundingClientRect();
        return box.width && box.left < hint.right && box.right > hint.left && box.top < hint.bottom && box.bottom > hint.top;
    }).map((each) => `${each.tagName} ${each.textContent}`);
}"""


@pytest.mark.parametrize("how", [{}, {"has_touch": True, "is_mobile": True}], ids=["mouse", "finger"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_hint_about_the_keys_covers_nothing(served, visit, width, how):
    page = visit(served, viewport={"width": width, "height": 740}, **how)
    at(page, [])
    hint = page.locator("#keys")
    assert (hint.bounding_box()["height"] > 10) == (not how)  # where fingers draw, it comes with the first key
    page.keyboard.press("Tab")
    keys_on_the_pad(page, "ArrowLeft")
    assert hint.bounding_box()["height"] > 10 and page.evaluate(COVERED_BY_THE_HINT) == []


@pytest.mark.parametrize("width", [320, 375, 768])
def test_no_word_and_no_control_is_cut_off(served, visit, width):
    page = visit(served, viewport={"width": width, "height": 740})
    page.locator("[data-example=teapot]").click()
    page.wait_for_selector(PHOTOS)
    at(page, [])
    assert page.evaluate(CUT_OFF) == [] and page.evaluate("document.documentElement.scrollWidth") <= width
    column = page.locator("#pad").bounding_box()
    assert all(
        box["x"] + box["width"] <= column["x"] + column["width"] + 1
        for box in (
            each.bounding_box() for each in page.locator("#pad button, #pad input[type=number], #pad .instead span").all()
        )
    )


def test_dark_and_light_ask_the_same(served, visit):
    light, dark = visit(served, color_scheme="light"), visit(served, color_scheme="dark")
    is_dark = "document.documentElement.dataset.theme === 'dark'"
    wait_until(dark, is_dark)
    assert not light.evaluate(is_dark)
    assert draw(light) == draw(dark)
    light.get_by_role("button", name="Dark theme").click()
    wait_until(light, is_dark)
    dark.get_by_role("button", name="Dark theme").click()
    for page, chosen in ((light, True), (dark, False)):
        for _ in range(2):
            page.reload()
            wait_until(page, "document.querySelector('#theme')")
            page.wait_for_timeout(300)
            assert page.evaluate(is_dark) == chosen  # once
        page.goto(f"{served.address}/static/page.css")
        page.go_back()
        page.wait_for_timeout(300)
        assert page.evaluate(is_dark) == chosen


def test_the_password_opens_the_page(searcher, visit):
    with serving(searcher, "ann:word") as served:
        assert draw(visit(served, http_credentials={"username": "ann", "password": "word"}))


def test_a_server_that_has_ended_is_said(searcher, visit):
    with serving(searcher) as served:
        page = visit(served)
        assert draw(page)
    pen_down(page, OTHER)
    page.mouse.up()
    assert "does not answer" in notice(page) and page.locator(PHOTOS).count() == 0
