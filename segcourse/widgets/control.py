"""One call, two faces: a live control where there is a kernel, pictures where there is none.

In the book's build the environment variable SEGCOURSE_STATIC=1 leaves the live face out: a page
has no kernel, and a widget's model id would change the committed notebook on every run.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy as np

from segcourse.widgets.frames import data_uri, encode, to_pixels, to_webp, unique
from segcourse.widgets.page import escape, figure_html, inline, slug

MAX_FRAMES = 80
STATIC = "SEGCOURSE_STATIC"


@dataclass(frozen=True)
class Exploration:
    """What `explore` returns; a notebook shows it.

    Attributes:
        html: the face without a kernel.
        pictures: how many different pictures it holds.
        quality: of the WebP pictures, 0 to 100; None when they are exact.
    """

    html: str = field(repr=False)
    pictures: int
    quality: int | None
    _names: tuple[str, ...] = field(repr=False)
    _labels: tuple[tuple[str, ...], ...] = field(repr=False)
    _start: tuple[int, ...] = field(repr=False)
    _caption: str = field(repr=False)
    _render: Callable[[tuple[int, ...]], str] = field(repr=False)

    @property
    def kilobytes(self) -> float:
        """Size in the page, 1 kB = 1000 bytes."""
        return len(self.html.encode()) / 1000

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        bundle: dict[str, object] = {"text/html": self.html, "text/plain": repr(self)}
        if os.environ.get(STATIC) != "1" and (control := self.control()) is not None:
            # Front ends take the live view where they know it and the HTML where they do not.
            bundle |= {k: v for k, v in control._repr_mimebundle_().items() if k != "text/plain"}
        return bundle

    def control(self) -> object | None:
        """The live face, an ipywidgets box; None where ipywidgets is not installed."""
        try:
            import ipywidgets
        except ModuleNotFoundError:
            return None
        sliders = [
            ipywidgets.SelectionSlider(
                options=[(text, i) for i, text in enumerate(texts)],
                value=place,
                description=name,
                style={"description_width": "initial"},
                layout={"width": "100%", "max_width": "640px"},
            )
            for name, texts, place in zip(self._names, self._labels, self._start, strict=True)
        ]
        picture = ipywidgets.HTML(self._render(self._start))
        below = [ipywidgets.HTML(inline(self._caption))] if self._caption else []

        def show(change: object) -> None:
            picture.value = self._render(tuple(slider.value for slider in sliders))

        for slider in sliders:
            slider.observe(show, "value")
        return ipywidgets.VBox([*sliders, picture, *below])


def _texts(values: Sequence[object], unit: str) -> tuple[str, ...]:
    """Numbers as a reader writes them: 0.5, 33 px, 80%."""
    space = " " if unit and unit.strip()[0].isalpha() else ""
    texts = [f"{v:g}" if isinstance(v, float | np.floating) else str(v) for v in values]
    return tuple(text + space + unit.strip() for text in texts)


def _parameters(
    values: object, name: str, unit: object, labels: object
) -> tuple[tuple[str, ...], list[list[object]], tuple[tuple[str, ...], ...]]:
    """Names, values and texts of the sliders, checked."""
    if isinstance(values, Mapping):
        names, lists = tuple(map(str, values)), [list(v) for v in values.values()]
        units = dict(unit) if isinstance(unit, Mapping) else dict.fromkeys(names, unit)
        given = dict(labels) if isinstance(labels, Mapping) else {names[0]: labels} if names else {}
        if len(names) > 1 and not (isinstance(unit, Mapping) or not unit):
            raise ValueError('with several parameters give unit as {"name": "unit"}')
        if len(names) > 1 and not (isinstance(labels, Mapping) or labels is None):
            raise ValueError('with several parameters give labels as {"name": [texts]}')
    else:
        names, lists, units, given = (name,), [list(values)], {name: unit}, {name: labels}
    if not 1 <= len(names) <= 3:
        raise ValueError(f"{len(names)} parameters were given: explore moves one to three")
    if not all(one.strip() for one in names):
        raise ValueError("a slider has no name: pass name=..., it is the slider's visible label")
    if unknown := (set(units) | set(given)) - set(names):
        raise ValueError(f"{sorted(unknown)} are no parameters: the names are {list(names)}")
    texts = []
    for one, numbers in zip(names, lists, strict=True):
        if not numbers:
            raise ValueError(f"{one!r} has no values: give at least one")
        own = given.get(one)
        texts.append(_texts(numbers, units.get(one, "")) if own is None else tuple(map(str, own)))
        if len(texts[-1]) != len(numbers):
            raise ValueError(
                f"{one!r} has {len(numbers)} values and {len(texts[-1])} labels: give one for each"
            )
    return names, lists, tuple(texts)


def explore(
    frame: Callable[..., object],
    values: Sequence[object] | Mapping[str, Sequence[object]],
    *,
    alt: str | Callable[..., str],
    name: str = "",
    unit: str | Mapping[str, str] = "",
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    start: int | tuple[int, ...] = 0,
    caption: str = "",
    width: int | None = None,
    key: str = "",
    limit: float = 700,
) -> Exploration:
    """A picture that a reader moves through with one to three sliders.

    Every state is drawn once, for the page, which then needs neither kernel nor network. With a
    kernel the slider calls `frame` anew, so that what the reader changed in the notebook shows.
    With SEGCOURSE_STATIC=1 in the environment, as in the book's build, only the page's face is
    emitted: the same bytes on every run, and no widget model.

    Args:
        frame: takes a value of each slider and returns uint8 (H, W, 3) or a
            matplotlib figure, which is drawn and closed. All of one size.
        values: the slider's positions; or {name: positions} for one slider or more.
        alt: what the picture shows, for those who cannot see it: a text, or a function of the
            same values.
        name: the slider's label, when `values` is a sequence.
        unit: written after each value, "px" or "%"; {name: unit} with several sliders.
        labels: texts in place of the values; {name: texts} with several sliders.
        start: the position to begin with, a tuple with several sliders.
        caption: what to see. `Backticks` become code.
        width: on screen in px; narrower screens shrink the picture. Without it the picture's own
            width, or the whole multiple of it nearest to 512 px.
        key: the name in the element's id, when two widgets on a page share name and caption.
        limit: largest size in kB.

    Returns:
        The widget, with `.kilobytes`. Pictures that repeat are stored once.

    Raises:
        ValueError: no values, no name, no alt, labels that do not fit, more than three sliders
            or 80 states, a start outside the values, pictures of different sizes, a widget over
            `limit`.
        TypeError: a frame that is neither a uint8 array nor a figure.
    """
    names, lists, texts = _parameters(values, name, unit, labels)
    states = list(product(*(range(len(one)) for one in lists)))
    if len(states) > MAX_FRAMES:
        raise ValueError(
            f"{' x '.join(str(len(one)) for one in lists)} values make {len(states)} pictures, "
            f"at most {MAX_FRAMES} are drawn: give fewer values"
        )
    first = (start,) if isinstance(start, int) and len(lists) == 1 else start
    first = (0,) * len(lists) if first == 0 else first
    if not isinstance(first, tuple) or first not in states:
        raise ValueError(
            f"start is {start}, positions are counted from 0 below "
            f"{' and '.join(str(len(one)) for one in lists)}, one for each slider"
        )

    def at(state: tuple[int, ...]) -> list[object]:
        return [one[i] for one, i in zip(lists, state, strict=True)]

    def describe(state: tuple[int, ...]) -> str:
        text = alt(*at(state)) if callable(alt) else alt
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"alt is {text!r} for {at(state)}: say what the picture shows, "
                "for readers who cannot see it"
            )
        return text.strip()

    alts = [describe(state) for state in states]
    pictures = [to_pixels(frame(*at(state))) for state in states]
    sizes = {one.shape[:2] for one in pictures}
    if len(sizes) > 1:
        raise ValueError(
            f"the pictures have sizes {sorted(sizes)} (H, W): draw all at one size, or the page "
            "jumps when the slider moves"
        )
    different, index = unique(pictures)
    # A byte in three is what base64 adds; texts and script take little.
    blobs, quality = encode(different, int(limit * 1000 * 0.75) - 4000)
    H, W = sizes.pop()
    shown = width or W * max(1, round(512 / W))
    html = figure_html(
        uid="explore-" + slug(key or " ".join([*names, caption])),
        names=names,
        labels=texts,
        start=first,
        frames=[data_uri(blob) for blob in blobs],
        index=index,
        alts=alts,
        caption=caption,
        size=(H, W),
        width=shown,
    )

    def render(state: tuple[int, ...]) -> str:
        source = data_uri(to_webp(to_pixels(frame(*at(state))), quality))
        sharp = "image-rendering:pixelated;" if shown > W else ""
        return (
            f'<img src="{source}" alt="{escape(describe(state))}" width="{shown}" '
            f'style="{sharp}max-width:100%;height:auto;background:#fff">'
        )

    result = Exploration(html, len(different), quality, names, texts, first, caption, render)
    if result.kilobytes > limit:
        raise ValueError(
            f"the widget takes {result.kilobytes:.0f} kB, at most {limit:g} are allowed: "
            f"{prod(map(len, lists))} states, {len(different)} different pictures of {H} x {W} px. "
            "Give fewer values, or draw smaller pictures and set width, or flatter ones"
        )
    return result
