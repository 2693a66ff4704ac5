"""Answers that are alike: code as syntax trees, writing by the phrases that two have in common."""

import ast
import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Mapping

from segcourse.grading.student import LONGEST, NOT_PARSED

SHORTEST = 18
"""Nodes of a tree below which being alike says nothing."""
PHRASE, FEWEST, SHARED = 5, 12, 0.4
"""Words of a phrase; phrases below which being alike says nothing; the share that is told."""


def shape(source: str) -> str | None:
    """A digest of code with its own names, docstrings and annotations taken away.

    Args:
        source: of one cell.

    Returns:
        The digest, or None where the code is broken or too short to tell anything.

    >>> body = "  out = [0] * n\\n  for i in range(n):\\n    out[i] = i * i\\n  return out"
    >>> a, b = f"def f(n):\\n{body}", f"def f(n):\\n{body}".replace("out", "squares")
    >>> shape(a) == shape(b) != shape(a.replace("i * i", "i + i"))
    True
    """
    try:
        if len(source) > LONGEST:
            raise ValueError
        tree = ast.parse(source)
        return _shape(tree)
    except NOT_PARSED:
        return None


def _shape(tree: ast.AST) -> str | None:
    names: dict[str, str] = {}
    bound = _bound(tree)
    count = 0
    for node in ast.walk(tree):
        count += 1
        if isinstance(node, ast.Name) and node.id in bound:
            node.id = names.setdefault(node.id, f"n{len(names)}")
        elif isinstance(node, ast.arg):
            node.arg = names.setdefault(node.arg, f"n{len(names)}")
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    if count < SHORTEST:
        return None
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _bound(tree: ast.AST) -> set[str]:
    """Names that the code itself binds; others, as torch, stay what they are."""
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and _stores(n)}
    return stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}


def _stores(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def groups(sources: Mapping[str, str], stub: str) -> list[list[str]]:
    """Students whose answers to one exercise have the same shape.

    Args:
        sources: by student.
        stub: what was handed out; to have left it as it is counts as no answer.

    Returns:
        Groups of two or more, the largest first.
    """
    found = defaultdict(list)
    for student, source in sources.items():
        digest = shape(source)
        if digest and digest != shape(stub):
            found[digest].append(student)
    return sorted((sorted(group) for group in found.values() if len(group) > 1), key=len)[::-1]


def phrases(text: str) -> set[tuple[str, ...]]:
    """Every few words that follow each other."""
    words = re.findall(r"\w+", text.casefold())
    return set(zip(*(words[start:] for start in range(PHRASE)), strict=False))


def alike_in_words(texts: Mapping[str, str], known: str = "") -> list[tuple[str, str, float]]:
    """Pairs of written answers that have many phrases in common, the most alike first.

    Args:
        texts: by student.
        known: text whose phrases anybody may have, such as the question.

    Returns:
        Two students, and the share of the shorter answer's phrases that the other one has.
    """
    common, found = phrases(known), []
    own = {student: phrases(text) - common for student, text in sorted(texts.items())}
    own = {student: said for student, said in own.items() if len(said) >= FEWEST}
    for (a, first), (b, second) in itertools.combinations(own.items(), 2):
        share = len(first & second) / min(len(first), len(second))
        if share >= SHARED:
            found.append((a, b, share))
    return sorted(found, key=lambda pair: -pair[2])
