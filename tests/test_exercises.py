"""The assignments: what each test cell is worth, and which marks hand-written answers get."""

import ast
from collections import Counter

import exercise_sources as sources
import pytest

SEEDS = (0, 1)
KINDS = {"right", "unusual", "partly", "misconception"}
every_assignment = pytest.mark.parametrize("stem", sources.STEMS)
every_variant = pytest.mark.parametrize(
    ("stem", "seed"), [(stem, seed) for stem in sources.STEMS for seed in SEEDS]
)


@every_variant
def test_every_cell_is_python_when_its_numbers_are_filled_in(stem, seed):
    one = sources.Assignment(stem, seed)
    for cell in (*one.public, *one.private, *one.answers):
        if cell.kind == "variants":
            continue
        if cell.kind in {"markdown", "question", "rubric"}:
            assert all(line.startswith("#") or not line for line in cell.source.splitlines())
        else:
            ast.parse(cell.source)


@every_assignment
def test_an_assignment_has_its_parts(stem):
    one = sources.Assignment(stem)
    assert len(one.stubs) in (2, 3)
    assert one.stubs.keys() == one.solutions.keys()
    for name in one.stubs:
        assert one.tests(name, ("test",)), f"{name} has no visible test"
        assert one.tests(name, ("hidden",)), f"{name} has no hidden test"
    questions = [c.name for c in one.public if c.kind == "question"]
    assert len(questions) == 1
    assert questions == [c.name for c in one.private if c.kind == "rubric"]
    assert not [c for c in one.public if c.kind in {"solution", "hidden", "rubric"}]


@every_variant
def test_the_reference_gets_all_marks_and_the_stub_none(stem, seed):
    one = sources.Assignment(stem, seed)
    for name, stub in one.stubs.items():
        earned, said = one.marks(name, one.solutions[name])
        assert sum(earned.values()) == one.points(name), said
        earned, said = one.marks(name, stub)
        assert sum(earned.values()) == 0
        assert all(text.startswith("NotImplementedError") for text in said.values()), said


@every_variant
def test_each_answer_gets_the_marks_that_were_said_before(stem, seed):
    one = sources.Assignment(stem, seed)
    wrong = []
    for answer in one.answers:
        earned, said = one.marks(answer.kind, answer.source)
        if sum(earned.values()) != int(answer.options["marks"]):
            first = answer.source.splitlines()[0]
            wrong.append(f"{answer.kind} {answer.options} {first}: {earned} {said}")
    assert not wrong, "\n".join(wrong)


@every_assignment
def test_there_are_a_dozen_answers_of_all_kinds_to_each_exercise(stem):
    one = sources.Assignment(stem)
    found = Counter(answer.kind for answer in one.answers)
    assert found.keys() == one.stubs.keys()
    assert min(found.values()) >= 12, found
    for name in one.stubs:
        mine = [answer for answer in one.answers if answer.kind == name]
        assert {answer.options["kind"] for answer in mine} == KINDS, name
        for answer in mine:
            assert answer.source.startswith("# "), "the first line says what the answer does"
            full = int(answer.options["marks"]) == one.points(name)
            assert full == (answer.options["kind"] in {"right", "unusual"}), answer.source


@every_assignment
def test_a_failed_visible_test_says_more_than_that_it_failed(stem):
    one = sources.Assignment(stem)
    for answer in one.answers:
        _, said = one.marks(answer.kind, answer.source, ("test",))
        for name, text in said.items():
            if text.startswith("AssertionError"):
                assert len(text) > 40, f"{name}: {text}"
