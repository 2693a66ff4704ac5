"""segcourse.widgets: what stands in the page moves by keyboard, needs nothing, stays the same."""

import base64
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segcourse.widgets import explore, quiz
from segcourse.widgets.frames import encode, to_webp, unique
from segcourse.widgets.page import inline, script_data, slug

VOID = {"img", "input", "br", "meta", "link"}


class Page(HTMLParser):
    """Elements as (tag, attributes, text), and a complaint about tags that do not nest."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append([tag, dict(attrs), ""])
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data):
        for i in self.open:
            self.elements[i][2] += data

    def all(self, tag):
        return [(attrs, text) for t, attrs, text in self.elements if t == tag]

    def data(self):
        (text,) = [text for attrs, text in self.all("script") if attrs.get("type")]
        return json.loads(text)


def square(value):
    picture = np.full((12, 20, 3), 230, np.uint8)
    picture[:value, :value] = [200, 60, 20]
    return picture


def pixels(uri):
    head, body = uri.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


def one(**changes):
    given = {"alt": lambda v: f"a square of {v} px", "name": "side", "unit": "px"}
    return explore(square, [1, 4, 9], **(given | changes))


def two(**changes):
    def frame(rows, cols):
        picture = np.zeros((12, 20, 3), np.uint8)
        picture[:rows, :cols] = 255
        return picture

    values = {"rows": [2, 5], "cols": [1, 2, 3]}
    return explore(frame, values, **({"alt": lambda r, c: f"{r} x {c}"} | changes))


# The page's face


def test_every_slider_has_a_label_an_output_and_a_text_for_its_value():
    page = Page(two(unit={"rows": "px"}, start=(1, 2)).html)
    sliders = [attrs for attrs, _ in page.all("input")]
    labels = {attrs["for"]: text for attrs, text in page.all("label")}
    outputs = {attrs["for"]: text for attrs, text in page.all("output")}
    assert [attrs["type"] for attrs in sliders] == ["range", "range"]
    assert [labels[attrs["id"]] for attrs in sliders] == ["rows", "cols"]
    assert [outputs[attrs["id"]] for attrs in sliders] == ["5 px", "3"]
    assert [attrs["aria-valuetext"] for attrs in sliders] == ["5 px", "3"]
    assert [(attrs["min"], attrs["max"], attrs["value"]) for attrs in sliders] == [
        ("0", "1", "1"),
        ("0", "2", "2"),
    ]


def test_every_state_has_its_own_picture_and_text_the_last_slider_fastest():
    widget = two(start=(1, 0))
    page = Page(widget.html)
    data, (image, _) = page.data(), page.all("img")[0]
    assert len(data["index"]) == len(data["alts"]) == 6
    assert data["alts"] == ["2 x 1", "2 x 2", "2 x 3", "5 x 1", "5 x 2", "5 x 3"]
    assert image["alt"] == "5 x 1"
    for state, (rows, cols) in enumerate((r, c) for r in (2, 5) for c in (1, 2, 3)):
        shown = pixels(data["frames"][data["index"][state]] or image["src"])
        want = np.zeros((12, 20, 3))
        want[:rows, :cols] = 255
        assert (shown == want).all()


def test_three_sliders_have_a_picture_for_each_combination():
    def frame(a, b, c):
        return np.full((2, 2, 3), 100 * a + 10 * b + c, np.uint8)

    values = {"a": [0, 1], "b": [2, 3], "c": [4, 5, 6]}
    widget = explore(frame, values, alt=lambda a, b, c: f"{a}{b}{c}", start=(1, 0, 2))
    data = Page(widget.html).data()
    states = [(a, b, c) for a in (0, 1) for b in (2, 3) for c in (4, 5, 6)]
    assert data["alts"] == ["".join(map(str, state)) for state in states]
    image, _ = Page(widget.html).all("img")[0]
    assert image["alt"] == "126"
    for i, (a, b, c) in zip(data["index"], states, strict=True):
        assert (pixels(data["frames"][i] or image["src"]) == 100 * a + 10 * b + c).all()


def test_pictures_have_the_size_of_the_frames_and_the_shape_on_screen():
    image, _ = Page(one(width=400).html).all("img")[0]
    assert pixels(image["src"]).shape == (12, 20, 3)
    assert (image["width"], image["height"]) == ("400", "240")
    assert "max-width:100%" in image["style"]
    assert "pixelated" in image["style"]


def test_the_first_picture_is_stored_once_and_repeats_are_too():
    widget = explore(square, [3, 3, 5, 3, 5], name="side", alt="a square")
    data = Page(widget.html).data()
    assert widget.pictures == 2
    assert data["index"] == [0, 0, 1, 0, 1]
    assert data["frames"][0] == ""
    assert widget.html.count("data:image/webp") == 2


def test_without_a_script_the_first_picture_stands_and_dead_sliders_do_not():
    page = Page(one(start=2).html)
    controls = next(a for a, _ in page.all("div") if a["class"] == "explore-controls")
    assert controls["style"] == "display:none"
    image, _ = page.all("img")[0]
    assert (pixels(image["src"]) == square(9)).all()
    assert page.all("noscript")


def test_sliders_are_44_px_tall_for_a_finger():
    for attrs, _ in Page(two().html).all("input"):
        assert "height:44px" in attrs["style"]


def test_the_reader_is_told_the_picture_when_the_slider_rests_and_not_twice():
    page = Page(one().html)
    (status,) = [attrs for tag, attrs, _ in page.elements if attrs.get("role") == "status"]
    assert status
    # An output element is a live region by itself; next to aria-valuetext it would repeat.
    assert all(attrs["aria-live"] == "off" for attrs, _ in page.all("output"))


def test_nothing_is_asked_of_the_network_and_no_handler_stands_in_an_attribute():
    for html in (one(caption="see `x`").html, quiz("Q?", OPTIONS).html):
        assert "http" not in html
        assert "//" not in html.replace("  //", "").split("base64")[0]
        for tag, attrs, _ in Page(html).elements:
            assert not [name for name in attrs if name.startswith("on")], tag
            assert "src" not in attrs or attrs["src"].startswith("data:")


def test_the_html_is_the_same_bytes_on_every_run_and_in_another_process():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_widgets as t;"
        "sys.stdout.write(t.two().html + t.quiz('Q?', t.OPTIONS).html)"
    )
    env = {"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin", "SEGCOURSE_STATIC": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env)
    assert done.stdout.decode() == two().html + quiz("Q?", OPTIONS).html


def test_ids_are_unique_on_a_page_and_come_from_name_and_caption():
    html = one().html + one(caption="Other").html + one(key="third").html + two().html
    html += quiz("Q?", OPTIONS).html + quiz("Q?", OPTIONS, key="q2").html
    ids = [attrs["id"] for _, attrs, _ in Page(html).elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"explore-side", "explore-side-other", "explore-third", "quiz-q", "quiz-q2"} <= set(ids)


def test_every_reference_between_elements_finds_its_element():
    page = Page(two().html + quiz("Q?", OPTIONS).html)
    ids = {attrs["id"] for _, attrs, _ in page.elements if "id" in attrs}
    for _, attrs, _ in page.elements:
        for name in ("for", "aria-controls"):
            assert attrs.get(name) is None or attrs[name] in ids


@settings(deadline=None, max_examples=40)
@given(st.text(), st.text())
def test_any_text_is_shown_as_it_is_and_breaks_nothing(name, text):
    alt, caption = f"a{text}", text.replace("`", "")
    widget = explore(square, [1, 2], name=f"n{name}", alt=alt, caption=caption, labels=[text, "b"])
    page = Page(widget.html)
    data = page.data()
    assert data["alts"] == [alt.strip()] * 2
    assert data["labels"] == [[text, "b"]]
    # The parser may normalise line ends, so compare what is not white space.
    squeeze = lambda s: "".join(s.replace("\x00", "\ufffd").split())  # noqa: E731
    if caption:
        (_, shown) = page.all("figcaption")[0]
        assert squeeze(shown) == squeeze(caption)
    assert {tag for tag, _, _ in page.elements} <= {
        "figure", "img", "div", "label", "input", "output", "noscript", "p", "figcaption",
        "script",
    }  # fmt: skip


@settings(deadline=None)
@given(st.text(min_size=1), st.text(min_size=1))
def test_different_texts_make_different_ids_of_safe_letters(a, b):
    assert set(slug(a)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if a.isascii() and b.isascii():
        return
    if a != b:
        assert slug(a) != slug(b)


def test_script_data_cannot_end_its_element():
    assert "<" not in script_data({"a": "</script><!--"})
    assert json.loads(script_data({"a": "</script>"})) == {"a": "</script>"}
    assert inline("`<b>` & x") == "<code>&lt;b&gt;</code> &amp; x"


def test_values_read_as_a_reader_writes_them():
    def labels(values, unit=""):
        return Page(explore(square, values, name="n", alt="a", unit=unit).html).data()["labels"][0]

    assert labels([1, 33], "px") == ["1 px", "33 px"]
    assert labels([10, 50], "%") == ["10%", "50%"]
    assert labels(np.array([2, 3]), " px") == ["2 px", "3 px"]

    def number(values):
        widget = explore(lambda v: square(2), values, name="n", alt="a")
        return Page(widget.html).data()["labels"][0]

    assert number([0.1, 1.0, 1e-5]) == ["0.1", "1", "1e-05"]
    assert number(np.linspace(0, 1, 3)) == ["0", "0.5", "1"]
    assert number(["ground", "disc"]) == ["ground", "disc"]


# Pictures


def test_flat_pictures_are_stored_without_loss():
    widget = one()
    assert widget.quality is None
    page = Page(widget.html)
    frames = [uri or page.all("img")[0][0]["src"] for uri in page.data()["frames"]]
    for value, uri in zip([1, 4, 9], frames, strict=True):
        assert (pixels(uri) == square(value)).all()


def test_noise_is_stored_with_loss_and_stays_near():
    ramp = np.linspace(40, 200, 96)
    rng = np.random.default_rng(0)
    noisy = (ramp[:, None, None] + ramp[None, :, None] / 8 + rng.normal(0, 6, (96, 96, 3))).astype(
        np.uint8
    )
    blobs, quality = encode([noisy], budget=12_000)
    assert quality == 85
    assert len(blobs[0]) < len(to_webp(noisy, None))
    back = np.asarray(Image.open(io.BytesIO(blobs[0])).convert("RGB")).astype(float)
    assert np.abs(back - noisy).mean() < 8


def test_quality_goes_down_only_as_far_as_the_budget_asks():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = {q: len(to_webp(noise, q)) for q in (85, 75, 60)}
    assert encode([noise], sizes[85])[1] == 85
    assert encode([noise], sizes[85] - 1)[1] == 75
    assert encode([noise], sizes[75] - 1)[1] == 60
    assert encode([noise], 10)[1] == 60


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_unique_pictures_rebuild_the_list(values):
    different, index = unique([square(v) for v in values])
    assert len(different) == len(set(values))
    assert all((different[i] == square(v)).all() for i, v in zip(index, values, strict=True))


def test_a_figure_becomes_its_pixels_and_is_closed():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    matplotlib = pytest.importorskip("matplotlib")
    from segcourse import plotting

    with matplotlib.rc_context({"backend": "agg"}):

        def frame(value):
            figure, ax = pyplot.subplots(figsize=(2, 1), dpi=50)
            ax.plot([0, value])
            return figure

        widget = explore(frame, [1, 2], name="v", alt="a line")
        assert not pyplot.get_fignums()
        image, _ = Page(widget.html).all("img")[0]
        assert pixels(image["src"]).shape == (50, 100, 3)
        figure = frame(1)
        assert (pixels(image["src"]) == plotting.to_array(figure)).all()
        pyplot.close(figure)


# Two faces


def test_in_the_books_build_there_is_html_only(monkeypatch):
    monkeypatch.setenv("SEGCOURSE_STATIC", "1")
    assert set(one()._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_with_a_kernel_the_live_control_comes_with_the_html(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.delenv("SEGCOURSE_STATIC", raising=False)
    widget = one()
    bundle = widget._repr_mimebundle_()
    assert bundle["text/html"] == widget.html
    assert "model_id" in bundle["application/vnd.jupyter.widget-view+json"]
    assert bundle["text/plain"] == "Exploration(pictures=3, quality=None)"


def test_moving_the_live_slider_calls_frame_anew():
    pytest.importorskip("ipywidgets")
    calls = []

    def frame(value):
        calls.append(value)
        return square(value)

    widget = explore(frame, [1, 4, 9], name="side", unit="px", alt=lambda v: f"side {v} <px>")
    slider, picture = widget.control().children
    assert slider.description == "side"
    assert list(slider.options) == [("1 px", 0), ("4 px", 1), ("9 px", 2)]
    calls.clear()
    slider.value = 2
    assert calls == [9]
    attrs, _ = Page(picture.value).all("img")[0]
    assert attrs["alt"] == "side 9 <px>"
    assert (pixels(attrs["src"]) == square(9)).all()


def test_without_ipywidgets_the_html_still_comes():
    code = """
import sys
sys.modules["ipywidgets"] = None
sys.modules["matplotlib"] = None
import numpy as np
from segcourse.widgets import explore
e = explore(lambda v: np.zeros((2, 2, 3), np.uint8), [1, 2], name="n", alt="black")
assert set(e._repr_mimebundle_()) == {"text/html", "text/plain"}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kilobytes_are_those_of_the_html():
    widget = one(caption="Größe")
    assert widget.kilobytes == len(widget.html.encode()) / 1000


# Errors


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: explore(square, [], name="n", alt="a"), "'n' has no values"),
        (lambda: explore(square, [1], name=" ", alt="a"), "no name"),
        (lambda: explore(square, [1], name="n", alt=""), "alt is ''"),
        (lambda: one(alt=lambda v: "" if v == 4 else "x"), r"alt is '' for \[4\]"),
        (lambda: one(alt=lambda v: None), "alt is None"),
        (lambda: one(labels=["a"]), "3 values and 1 labels"),
        (lambda: one(start=3), "start is 3"),
        (lambda: one(start=-1), "start is -1"),
        (lambda: two(start=1), "one for each slider"),
        (lambda: two(unit="px"), "unit as"),
        (lambda: two(unit={"row": "px"}), r"\['row'\] are no parameters"),
        (lambda: two(labels=["a", "b"]), "labels as"),
        (lambda: explore(square, {}, alt="a"), "0 parameters"),
        (lambda: explore(square, {n: [1] for n in "abcd"}, alt="a"), "4 parameters"),
        (lambda: explore(square, range(81), name="n", alt="a"), "81 values make 81 pictures"),
        (
            lambda: explore(lambda v: square(1)[:v], [4, 5], name="n", alt="a"),
            r"sizes \[\(4, 20\), \(5, 20\)\]",
        ),
        (lambda: explore(lambda v: square(1)[..., 0], [1], name="n", alt="a"), "channels last"),
        (lambda: one(limit=1), "at most 1 are allowed"),
    ],
)
def test_a_wrong_call_says_what_to_do(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("drawn", [None, np.zeros((2, 2, 3)), [[1]]])
def test_a_frame_must_be_pixels_or_a_figure(drawn):
    with pytest.raises(TypeError, match="return a uint8 array"):
        explore(lambda v: drawn, [1], name="n", alt="a")


def test_a_widget_over_its_limit_is_refused_and_says_how_to_shrink_it():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"4 different pictures of 64 x 64 px. Give fewer values"):
        explore(lambda v: frames[v], range(4), name="n", alt="noise", limit=10)


# Questions

OPTIONS = [
    ("0", False, "0 is `ground`, a class like others."),
    ("255", True, "Every data set writes void as 255 here."),
    ("the last class", False, "The number of classes differs, void's label does not."),
]


def test_every_option_has_a_label_and_its_own_hidden_reason():
    page = Page(quiz("Which label is `void`?", OPTIONS).html)
    radios = [attrs for attrs, _ in page.all("input")]
    labels = {attrs["for"]: text for attrs, text in page.all("label")}
    assert [labels[attrs["id"]] for attrs in radios] == [text for text, _, _ in OPTIONS]
    assert len({attrs["name"] for attrs in radios}) == 1
    assert page.all("legend")[0][1] == "Which label is void?"
    reasons = [(a, t) for a, t in page.all("span") if a["class"] == "quiz-reason"]
    assert all(attrs["style"] == "display:none" for attrs, _ in reasons)
    assert [text for _, text in reasons] == [
        "Not this one. 0 is ground, a class like others.",
        "Right. Every data set writes void as 255 here.",
        "Not this one. The number of classes differs, void's label does not.",
    ]


def test_no_option_is_chosen_before_the_reader_does():
    page = Page(quiz("Q?", OPTIONS).html)
    assert not [attrs for attrs, _ in page.all("input") if "checked" in attrs]
    (status,) = [text for _, attrs, text in page.elements if attrs.get("role") == "status"]
    assert status.strip() == ""


@pytest.mark.parametrize(
    ("question", "options", "says"),
    [
        (" ", OPTIONS, "question is empty"),
        ("Q?", OPTIONS[:1], "1 options"),
        ("Q?", [("a", True, ""), ("b", False, "no")], "every option needs"),
        ("Q?", [("", True, "yes"), ("b", False, "no")], "every option needs"),
        ("Q?", [("a", True, "yes"), ("b", True, "no")], "2 options are right"),
        ("Q?", [("a", False, "yes"), ("b", False, "no")], "0 options are right"),
    ],
)
def test_a_quiz_without_one_right_answer_and_reasons_is_refused(question, options, says):
    with pytest.raises(ValueError, match=says):
        quiz(question, options)
