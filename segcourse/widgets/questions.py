"""Self-check questions: choose an option, read why it is right or wrong. Plain HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from segcourse.widgets.page import inline, slug

SCRIPT = """(() => {
for (const quiz of document.querySelectorAll("fieldset.quiz:not([data-ready])")) {
  const answer = quiz.querySelector("[role=status]");
  quiz.addEventListener("change", (event) => {
    const option = event.target.closest(".quiz-option");
    answer.innerHTML = option.querySelector(".quiz-reason").innerHTML;
    answer.dataset.verdict = option.dataset.verdict;
  });
  quiz.dataset.ready = "";
}
})();"""


@dataclass(frozen=True)
class Quiz:
    """What `quiz` returns; a notebook shows it."""

    question: str
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def quiz(question: str, options: Sequence[tuple[str, bool, str]], *, key: str = "") -> Quiz:
    """A question with one right option, and a reason shown for whichever is chosen.

    Hide the cell that calls it (tag `remove-input`): its code holds the answer.

    Args:
        question: plain text; `backticks` become code here and below.
        options: (text, whether it is right, why) for each, two or more.
        key: the name in the elements' ids, when two quizzes on a page share their question.

    Raises:
        ValueError: an empty text, fewer than two options, an option without a reason, or not
            exactly one right option.
    """
    if not question.strip():
        raise ValueError("the question is empty: ask something")
    if len(options) < 2:
        raise ValueError(f"{len(options)} options were given: a choice needs two or more")
    for text, _, reason in options:
        if not text.strip() or not reason.strip():
            raise ValueError(
                f"option {text!r} has reason {reason!r}: every option needs a text, and a reason "
                "why it is right or wrong"
            )
    if (right := sum(bool(correct) for _, correct, _ in options)) != 1:
        raise ValueError(f"{right} options are right: exactly one has to be")
    uid = "quiz-" + slug(key or question)
    rows, plain = [], []
    for i, (text, correct, reason) in enumerate(options, 1):
        verdict = "right" if correct else "wrong"
        answer = f"<strong>{'Right.' if correct else 'Not this one.'}</strong> {inline(reason)}"
        rows.append(
            f'<div class="quiz-option" data-verdict="{verdict}" style="display:flex;'
            'align-items:center;gap:.5em;min-height:44px">'
            f'<input type="radio" name="{uid}" id="{uid}-{i}" value="{i}" autocomplete="off" '
            'style="flex:none;width:1.25em;height:1.25em;margin:0;accent-color:#0b6e6e">'
            f'<label for="{uid}-{i}" style="flex:1;padding:.6em 0;margin:0">{inline(text)}</label>'
            f'<span class="quiz-reason" style="display:none">{answer}</span></div>'
        )
        plain.append(f"<li>{answer}</li>")
    return Quiz(
        question,
        "\n".join(
            [
                f'<fieldset class="quiz" id="{uid}" data-lm-suppress-shortcuts="true" '
                'style="margin:1em 0;padding:.25em 1em .75em;border:1px solid #8a949c;'
                'border-radius:4px;min-width:0">',
                # A floated legend lies inside the frame: a long question would break the border.
                f'<legend style="float:left;width:100%;margin:.5em 0;padding:0;font-size:1em;'
                f'line-height:1.5;font-weight:600">{inline(question)}</legend>',
                '<div style="clear:both"></div>',
                *rows,
                '<p class="quiz-answer" role="status" style="margin:.25em 0 0;min-height:1.5em">'
                "</p>",
                # Folded: JupyterLab shows the text of noscript in an output that it does not trust.
                "<noscript><details><summary>Reasons, for a page without JavaScript</summary>"
                f"<ol>{''.join(plain)}</ol></details></noscript>",
                f"<script>{SCRIPT}</script>",
                "</fieldset>",
            ]
        ),
    )
