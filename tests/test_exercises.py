"""The assignments: what each test cell is worth, and which marks hand-written answers get."""

import json
import re
from collections import Counter

import exercise_sources as sources
import pytest

from segcourse.grading.mutants import equivalents, mutants

KINDS = {"right", "unusual", "partly", "misconception"}
every_assignment = pytest.mark.parametrize("stem", sources.STEMS)
every_variant = pytest.mark.parametrize(
    ("stem", "seed"), [(stem, seed) for stem in sources.STEMS for seed in (0, 1)]
)


@every_assignment
def test_an_assignment_has_its_parts(stem):
    one = sources.assignment(stem)
    assert len(one.of("answer")) in (2, 3)
    assert len(one.of("question")) == 1
    for cell in one.of("answer"):
        assert cell.read, f"{cell.name}: where in the chapter to read"
        for kind in ("test", "hidden"):
            assert sources.points(one, cell.name, (kind,)), f"{cell.name} has no {kind} cell"


@every_assignment
def test_a_student_is_sent_to_a_heading_that_the_page_has(stem):
    one = sources.assignment(stem)
    page = sources.ROOT.parent / f"{one.page}.ipynb"
    if not page.exists():
        pytest.skip("the page is not in the book yet")
    cells = json.loads(page.read_text("utf-8"))["cells"]
    text = "".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "markdown")
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    assert {cell.read for cell in one.of("answer")} <= set(headings)
    assert f"exercises/{stem}.py" in text, (
        f"book: add the sentence **To hand in.** of the other pages, with exercises/{stem}.py"
    )


@every_assignment
def test_another_seed_changes_numbers_and_not_points(stem):
    one, two = sources.assignment(stem, 0), sources.assignment(stem, 1)
    assert [c.points for c in one.cells] == [c.points for c in two.cells]
    texts = {tuple(c.source for c in sources.assignment(stem, seed).cells) for seed in range(6)}
    assert len(texts) > 1


@every_variant
def test_the_reference_gets_all_marks_and_the_stub_none(stem, seed):
    one = sources.assignment(stem, seed)
    for cell in one.of("answer"):
        earned, said = sources.marks(one, cell.name, cell.solved)
        assert sum(earned.values()) == sources.points(one, cell.name), said
        earned, said = sources.marks(one, cell.name, cell.source)
        assert sum(earned.values()) == 0
        assert all(text.startswith("NotImplementedError") for text in said.values()), said


@every_variant
def test_each_answer_gets_the_marks_that_were_said_before(stem, seed):
    one = sources.assignment(stem, seed)
    wrong = []
    for answer in sources.answers(stem):
        earned, said = sources.marks(one, answer.name, answer.source)
        if sum(earned.values()) != answer.marks:
            first = answer.source.splitlines()[0]
            wrong.append(f"{answer.name} {answer.marks} {first}: {earned} {said}")
    assert not wrong, "\n".join(wrong)


@every_assignment
def test_there_are_a_dozen_answers_of_all_kinds_to_each_exercise(stem):
    one = sources.assignment(stem)
    found = Counter(answer.name for answer in sources.answers(stem))
    assert found.keys() == {cell.name for cell in one.of("answer")}
    assert min(found.values()) >= 12, found
    for answer in sources.answers(stem):
        assert answer.source.startswith("# "), "the first line says what the answer does"
        full = answer.marks == sources.points(one, answer.name)
        assert full == (answer.kind in {"right", "unusual"}), answer.source
    for name in found:
        assert {a.kind for a in sources.answers(stem) if a.name == name} == KINDS, name


@every_assignment
def test_a_failed_visible_test_says_more_than_that_it_failed(stem):
    one = sources.assignment(stem)
    for answer in sources.answers(stem):
        _, said = sources.marks(one, answer.name, answer.source, ("test",))
        for name, text in said.items():
            if text.startswith("AssertionError"):
                assert len(text) > 40, f"{name}: {text}"


@every_assignment
def test_every_mutant_of_a_reference_is_killed_or_listed_as_equivalent(stem):
    # In this process, without limits: no reference has a loop that a mutant could make endless.
    one = sources.assignment(stem)
    listed = equivalents(sources.ROOT / "private" / "equivalent.txt")
    passing = set()
    made = list(mutants(one))
    assert len({mutant.name for mutant in made}) == len(made)
    for mutant in made:
        earned, _ = sources.marks(one, mutant.answer, mutant.source, stop=True)
        if sum(earned.values()) == sources.points(one, mutant.answer):
            passing.add(f"{stem}: {mutant.name}")
    assert passing == {name for name in listed if name.startswith(f"{stem}: ")}
