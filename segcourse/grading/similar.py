"""Answers that are the same but for names, comments and layout: compared as syntax trees."""

import ast
import hashlib
from collections import defaultdict
from collections.abc import Mapping

SHORTEST = 18
"""Nodes of a tree below which being alike says nothing."""


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
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
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
