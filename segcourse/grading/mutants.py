"""Small faults put into a reference, one at a time: do the tests notice each of them?

A mutant that passes every test is a gap in the tests, or it computes the same (equivalent).
"""

import ast
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segcourse.grading.marking import Session, run_test
from segcourse.grading.source import Assignment, proxied

OTHERS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.MatMult: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.In: ast.NotIn,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
"""What takes an operator's place."""


@dataclass(frozen=True)
class Mutant:
    """A reference with one fault.

    Args:
        answer: the answer's name.
        source: the whole cell.
        line: of the cell, where the fault is.
        column: of the line, from 1.
        was: the code before.
        now: the code with the fault.
    """

    answer: str
    source: str
    line: int
    column: int
    was: str
    now: str

    @property
    def name(self) -> str:
        """How a table calls it; no two of an answer are called alike."""
        return f"{self.answer} line {self.line} column {self.column}: {self.was} -> {self.now}"


def mutants(assignment: Assignment) -> Iterator[Mutant]:
    """Every mutant of every reference of an assignment."""
    for cell in assignment.of("answer"):
        seen = {ast.unparse(_without_docstrings(ast.parse(cell.solved)))}
        for mutant in mutants_of(cell.name, cell.solved):
            if mutant.source not in seen:
                seen.add(mutant.source)
                yield mutant


def mutants_of(answer: str, source: str) -> Iterator[Mutant]:
    """Change each operator, number and choice of the code, swap arguments, drop each statement."""
    tree = _without_docstrings(ast.parse(source))
    for place, node in enumerate(ast.walk(tree)):
        for fault in range(len(faults(node))):
            mutated = copy.deepcopy(tree)
            changed = next(itertools.islice(ast.walk(mutated), place, None))
            was = _code(changed)
            dropped = faults(changed)[fault]()
            now = _code(changed)
            if isinstance(dropped, ast.stmt):
                was, now = _code(dropped), "nothing"
            at = dropped if isinstance(dropped, ast.stmt) else node
            made = ast.unparse(ast.fix_missing_locations(mutated))
            yield Mutant(answer, made, at.lineno, at.col_offset + 1, was, now)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _code(node: ast.AST) -> str:
    first = ast.unparse(node).split("\n")[0]
    return first if len(first) < 60 else first[:57] + "..."


def faults(node: ast.AST) -> list[Callable]:
    """What can be made wrong in a node, each in place; a statement that is dropped is returned."""
    found: list[Callable] = []

    def put(name: str, value) -> None:
        found.append(lambda: setattr(node, name, value))

    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OTHERS:
        put("op", OTHERS[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OTHERS:
        put("ops", [OTHERS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        put("op", ast.UAdd())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        put("value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        put("value", node.value + 1)
        put("value", node.value - 1)
    elif isinstance(node, ast.IfExp):
        found.append(lambda: _swap_branches(node))
    elif isinstance(node, ast.If):
        put("test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Call):
        plain = not any(isinstance(arg, ast.Starred) for arg in node.args)
        if len(node.args) > 1 and plain:
            put("args", [node.args[1], node.args[0], *node.args[2:]])
        for place in range(len(node.keywords)):
            put("keywords", node.keywords[:place] + node.keywords[place + 1 :])
    for name in ("body", "orelse"):
        block = getattr(node, name, None)
        if isinstance(block, list) and not isinstance(node, ast.Module):
            for place, statement in enumerate(block):
                if isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr | ast.For | ast.If):
                    found.append(lambda block=block, place=place: _drop(block, place))
    return found


def _swap_branches(node: ast.IfExp) -> None:
    node.body, node.orelse = node.orelse, node.body


def _drop(block: list[ast.stmt], place: int) -> ast.stmt:
    statement, block[place] = block[place], ast.Pass()
    return statement


def survivors(
    assignment: Assignment, session: Session, seconds: float = 5
) -> tuple[int, list[Mutant]]:
    """Run the tests of each answer on each mutant of its reference.

    Args:
        assignment: with its private part.
        session: where the mutants run; they may loop for ever.
        seconds: for all tests of one mutant.

    Returns:
        How many mutants there were, and those that pass every test.
    """
    trusted: dict = {"__name__": "tests"}
    names: dict[str, str] = {}
    for cell in assignment.of("given", "answer"):
        if cell.kind == "given":
            exec(compile(cell.source, cell.name, "exec"), trusted)
        else:
            names.update(proxied(cell.source))
        session.run(cell.source if cell.kind == "given" else cell.solved)
    base, count, found = list(session.cells), 0, []
    for mutant in mutants(assignment):
        count += 1
        # The last definition counts; those of mutants before it are forgotten.
        session.cells, session.left, session.restarts = list(base), {}, 0
        _, error = session.run(mutant.source)
        tests = assignment.tests_of(mutant.answer)
        session.start_tests(mutant.answer)
        told = bool(error) or any(
            run_test(test.source, test.name, trusted, session, names, seconds) for test in tests
        )
        if not told:
            found.append(mutant)
    return count, found


def equivalents(path: Path) -> dict[str, str]:
    """Mutants that are known to compute the same: 'NAME: MUTANT | why' a line, or nothing.

    Args:
        path: the list; it need not exist.

    Returns:
        The argument by 'NAME: MUTANT', where NAME is the assignment's.
    """
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    pairs = (line.split(" | ", 1) for line in lines if " | " in line and not line.startswith("#"))
    return {name.strip(): why.strip() for name, why in pairs}
