"""The instructors' page: its commands exist and run, its tables are those of the exercises."""

import re
import shlex

import pytest

from segcourse.grading import walls
from tools import instructors

TEXT = instructors.PAGE.read_text("utf-8")
REASON = walls.why_not()


def section(heading):
    """The text below a heading of the page, up to the next one of its level."""
    level = "#" * len(heading.split()[0])
    return re.split(rf"(?m)^#{{1,{len(level)}}} ", TEXT.split(f"\n{heading}\n")[1])[0]


def shown_commands():
    """Every `segcourse` command that stands on the page in a block of code."""
    blocks = re.findall(r"(?ms)^```(?:console|bash)\n(.*?)^```$", TEXT)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("segcourse ")]


@pytest.mark.parametrize("command", shown_commands())
def test_every_command_on_the_page_exists_and_its_flags_parse(command):
    from segcourse.cli import _parser

    words = shlex.split(command, comments=True)[1:]
    args = _parser(words).parse_args(words)
    assert callable(args.run)


def test_tables_and_questions_are_those_of_the_exercises():
    reading = re.compile(r"\| (\d+) (?:min|h) \|")
    made = instructors.with_tables(TEXT)
    why = "run: python -m tools.instructors tables"
    assert reading.sub("", made) == reading.sub("", TEXT), why
    # A chapter may grow a little before the time to read it is counted again.
    for now, shown in zip(reading.findall(made), reading.findall(TEXT), strict=True):
        assert abs(int(now) - int(shown)) <= 5, why


def test_every_written_question_has_a_rubric_of_four_levels():
    rubrics = section("## Rubrics for the written questions")
    parts = re.split(r"(?m)^### ", rubrics)[1:]
    assert len(parts) == len(instructors.ORDER) == 9
    for stem, part in zip(instructors.ORDER, parts, strict=True):
        assert f"<!-- made: question {stem} -->" in part
        levels = re.findall(r"(?m)^\| (\d) \| .{25,} \|$", part)
        (asked,) = instructors.assignment(stem).of("question")
        assert [int(level) for level in levels] == list(range(1, asked.points + 1))
        # What stands in the rubric of who marks is not said here.
        points = re.findall(r"- 1 point: (.*)", asked.solved)
        assert len(points) == asked.points
        assert not [text for text in points if text in part]


def test_every_chapter_has_three_misconceptions_each_with_a_question_and_what_to_show():
    parts = re.split(r"(?m)^### ", section("## Common misconceptions"))[1:]
    assert len(parts) == len(instructors.ORDER)
    for part in parts:
        rows = re.findall(r"(?m)^\| (?!they say|---)(.+) \| (.+) \| (.+) \|$", part)
        assert len(rows) >= 3
        link = r"<a href=|\{ref\}|\{numref\}|https://"
        for said, asked, shown in rows:
            assert said.endswith(".")
            assert re.search(link, asked), said
            assert re.search(link, shown), said


def test_weeks_of_both_schedules_name_every_chapter_and_a_figure():
    for heading, weeks in (("### Ten weeks", 10), ("### Five weeks", 5)):
        rows = section(heading).split("\n* - ")[2:]
        assert [int(row.split()[0]) for row in rows] == list(range(1, weeks + 1))
        assert all(".html#" in row for row in rows[:9])
        named = set(re.findall(r"\{doc\}`(\w+)`", section(heading)))
        assert named >= {"index", *instructors.CHAPTERS}


def test_long_outputs_are_cut_and_others_are_shown_whole():
    page = "```console\n$ one\nold\n$ two\n```\n"
    long = "\n".join(f"line {i}" for i in range(40))
    made = instructors.with_outputs(page, {"one": long, "two": "a\nb\n"})
    lines = made.splitlines()
    assert len(lines) == 1 + 1 + instructors.MOST + 1 + 2 + 1
    assert lines[1:4] == ["$ one", "line 0", "line 1"]
    assert lines[1 + instructors.MOST - 1 : 1 + instructors.MOST + 1] == ["...", "line 39"]
    assert lines[-4:] == ["$ two", "a", "b", "```"]
    assert instructors.with_outputs(made, {"one": long, "two": "a\nb\n"}) == made


def test_a_command_that_fails_leaves_the_page_alone(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo hello\n$ false\n```\n")
    monkeypatch.setattr(instructors, "PAGE", page)
    assert instructors.main(["walkthrough"]) == 1
    assert "exit code 1" in capsys.readouterr().out
    assert "\nhello\n" not in page.read_text()
    page.write_text("```console\n$ echo hello\n```\n")
    assert instructors.main(["walkthrough"]) == 0
    assert page.read_text() == "```console\n$ echo hello\nhello\n```\n"


@pytest.mark.slow
@pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
def test_a_small_class_goes_through_all_commands_of_the_page():
    pytest.importorskip("nbgrader")
    todo = [line.replace("--students 30", "--students 3") for line in instructors.commands(TEXT)]
    assert any("--students 3" in line for line in todo)
    printed = {}
    for command, code, output, _ in instructors.run_all(todo):
        assert instructors.is_right(command, code), f"$ {command}\n{output}"
        printed[command] = output
    text = "\n".join(printed.values())
    assert "3 of 3 have the marks they should have" in text
    assert "3 submissions, 1 for a person to look at" in text
    assert re.search(r"\| fcn \| \d+ \| \d+ \| \d+ \| 0 \|", text)
