"""Steps of nbgrader's that are replaced, so that the buttons of formgrader are safe to press.

nbgrader_config.py of a course folder names these lists. This module alone needs nbgrader when it
is imported.
"""

try:
    from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
    from nbgrader.preprocessors import ClearSolutions, Execute, NbGraderPreprocessor
except ImportError:  # read without nbgrader, as tools do that list modules
    NbGraderPreprocessor = object
    Autograde = None

from segcourse.grading import notebook
from segcourse.grading.gradebook import with_outputs
from segcourse.grading.shard import Task, grade


class PutStubs(NbGraderPreprocessor):
    """In place of ClearSolutions: our own stubs, with signature and docstring."""

    def preprocess(self, nb, resources):
        """Replace each solution by its stub."""
        stubs = nb.metadata.get("segcourse", {}).pop("stubs", {})
        for cell in nb.cells:
            name = notebook.grade_id(cell)
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = stubs[name]
        return nb, resources


class MarkInSandbox(NbGraderPreprocessor):
    """In place of Execute: answers run behind the wall, tests outside."""

    def preprocess(self, nb, resources):
        """Mark the notebook; refuses where there is no sandbox."""
        from segcourse.grading import walls

        walls.require()
        hidden = notebook.hidden_sources(nb)
        student = resources["nbgrader"]["student"]
        record = grade(vars(Task(student, nb, hidden)))
        for cell in with_outputs(nb, record, {})["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [type(nb)(output) for output in cell["outputs"]]
        return nb, resources


class HideHiddenTests(NbGraderPreprocessor):
    """Students see that a hidden test failed, and neither its source nor its message."""

    def preprocess(self, nb, resources):
        """Clear hidden tests, their outputs included."""
        for cell in nb.cells:
            if notebook.grade_id(cell) in nb.metadata.get("segcourse", {}).get("hidden", []):
                cell.source = cell.source.split(f"\n{notebook.BEGIN}")[0]
                for output in cell.outputs:
                    output.evalue = "this hidden test does not pass"
                    output.traceback = [output.evalue]
        return nb, resources


def _replaced(steps: list, old: type, new: type) -> list:
    return [new if step is old else step for step in steps]


if Autograde is not None:
    RELEASE = _replaced(GenerateAssignment.preprocessors.default(), ClearSolutions, PutStubs)
    SANITIZE = list(Autograde.sanitize_preprocessors.default())
    AUTOGRADE = _replaced(Autograde.autograde_preprocessors.default(), Execute, MarkInSandbox)
    FEEDBACK = [HideHiddenTests, *GenerateFeedback.preprocessors.default()]
