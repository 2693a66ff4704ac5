"""The face of a widget in a page without a kernel: range inputs over pictures, no library.

The style is kept to what makes it work anywhere; `book/_static/explore.css` does the rest. The
script may run many times on one page: it takes up only figures that are not ready yet.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from html import escape

SCRIPT = """(() => {
for (const figure of document.querySelectorAll("figure.explore:not([data-ready])")) {
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const image = figure.querySelector("img"), first = image.src;
  const status = figure.querySelector("[role=status]");
  const ranges = [...figure.querySelectorAll("input[type=range]")];
  let timer;
  const show = () => {
    let state = 0;
    ranges.forEach((range, i) => {
      const label = data.labels[i][range.value];
      state = state * data.labels[i].length + Number(range.value);
      range.setAttribute("aria-valuetext", label);
      figure.querySelectorAll("output")[i].textContent = label;
    });
    image.src = data.frames[data.index[state]] || first;
    image.alt = data.alts[state];
    status.textContent = "";
    clearTimeout(timer);
  };
  show();
  for (const range of ranges) range.addEventListener("input", () => {
    show();
    // The picture is described when the slider rests, not at every step.
    timer = setTimeout(() => { status.textContent = image.alt; }, 900);
  });
  figure.querySelector(".explore-controls").style.display = "";
  figure.dataset.ready = "";
}
})();"""

HIDDEN = (
    "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
)


def slug(text: str) -> str:
    """A text as part of an element's id: the same on every run, and another for another text.

    >>> slug("patch size (px)")
    'patch-size-px'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(plain) <= 40 and plain.isascii() and plain and text.isascii():
        return plain
    # Cut or not spelled in ASCII: a digest of the whole keeps it apart from its neighbours.
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[:40].strip('-')}-{digest}".strip("-")


def inline(text: str) -> str:
    """Escape a text for HTML; `backticks` become code.

    >>> inline("`x` < 1")
    '<code>x</code> &lt; 1'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def script_data(value: object) -> str:
    """JSON that can stand inside a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def figure_html(
    *,
    uid: str,
    names: Sequence[str],
    labels: Sequence[Sequence[str]],
    start: Sequence[int],
    frames: Sequence[str],
    index: Sequence[int],
    alts: Sequence[str],
    caption: str,
    size: tuple[int, int],
    width: int,
) -> str:
    """The figure with its sliders.

    Args:
        uid: the figure's id, from which the others are made.
        names: one for each slider, its visible label.
        labels: for each slider the text of each position.
        start: for each slider the first position.
        frames: addresses of the pictures.
        index: for each state, the last slider fastest, its picture.
        alts: for each state its text alternative.
        caption: under the figure.
        size: (H, W) of the pictures in px.
        width: on screen, in CSS px; narrower screens shrink it.
    """
    state = 0
    for place, texts in zip(start, labels, strict=True):
        state = state * len(texts) + place
    # The first picture stands in the image element, so it works without a script, and only there.
    stored = ["" if i == index[state] else frame for i, frame in enumerate(frames)]
    data = {"labels": labels, "frames": stored, "index": index, "alts": alts}
    height = round(width * size[0] / size[1])
    sharp = "image-rendering:pixelated;" if width > size[1] else ""
    rows = []
    for i, (name, texts, place) in enumerate(zip(names, labels, start, strict=True), 1):
        text = escape(texts[place])
        rows.append(
            '<div class="explore-row" style="display:flex;flex-wrap:wrap;align-items:center;'
            f'gap:0 .75em"><label for="{uid}-{i}">{escape(name)}</label>'
            f'<input id="{uid}-{i}" type="range" min="0" max="{len(texts) - 1}" step="1" '
            f'value="{place}" aria-valuetext="{text}" aria-controls="{uid}-image" '
            'autocomplete="off" style="flex:1 1 9em;min-width:0;height:44px;margin:0;'
            'accent-color:#0b6e6e">'
            f'<output for="{uid}-{i}" aria-live="off" style="min-width:'
            f'{max(map(len, texts))}ch;font-variant-numeric:tabular-nums">{text}</output></div>'
        )
    return "\n".join(
        [
            # Without the attribute JupyterLab takes the arrow keys to move between cells.
            f'<figure class="explore" id="{uid}" data-lm-suppress-shortcuts="true" '
            f'style="margin:1em 0;max-width:{width}px">',
            f'<img id="{uid}-image" class="dark-light" src="{frames[index[state]]}" '
            f'alt="{escape(alts[state])}" width="{width}" height="{height}" decoding="sync" '
            f'style="{sharp}display:block;max-width:100%;height:auto;background:#fff">',
            # A style, not the hidden attribute: JupyterLab takes that away from an output that it
            # does not trust, and leaves the text of noscript.
            f'<div class="explore-controls" style="display:none">{"".join(rows)}</div>',
            f"<noscript><p>This is one of {len(index)} pictures. The others need JavaScript; in a "
            "notebook, run the cell.</p></noscript>",
            f'<p class="explore-status" role="status" style="{HIDDEN}"></p>',
            *([f"<figcaption>{inline(caption)}</figcaption>"] if caption else []),
            f'<script type="application/json">{script_data(data)}</script>',
            f"<script>{SCRIPT}</script>",
            "</figure>",
        ]
    )
