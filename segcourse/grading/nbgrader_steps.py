"""Steps of nbgrader's that are replaced, so that the buttons of formgrader are safe to press.

nbgrader_config.py of a course folder names these lists. This module alone needs nbgrader when it
is imported.
"""

import math

try:
    from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
    from nbgrader.plugins import BasePlugin
    from nbgrader.preprocessors import ClearSolutions, Execute, NbGraderPreprocessor
    from traitlets import Float
except ImportError:  # read without nbgrader, as tools do that list modules
    BasePlugin = NbGraderPreprocessor = object
    Autograde = Float = None

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
        if record.get("failed"):
            raise RuntimeError(f"{student}: {record['incidents'][-1]}")
        for cell in with_outputs(nb, record, {})["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [type(nb)(output) for output in cell["outputs"]]
        return nb, resources


class HideHiddenTests(NbGraderPreprocessor):
    """Students see that a hidden test failed, neither its source nor its message, and no rubric."""

    def preprocess(self, nb, resources):
        """Clear hidden tests, their outputs included, and rubrics."""
        nb.cells = [cell for cell in nb.cells if cell.metadata.get("segcourse") != "rubric"]
        for cell in nb.cells:
            if notebook.grade_id(cell) in nb.metadata.get("segcourse", {}).get("hidden", []):
                cell.source = cell.source.split(f"\n{notebook.BEGIN}")[0]
                for output in cell.outputs:
                    output.evalue = "this hidden test does not pass"
                    output.traceback = [output.evalue]
        return nb, resources


class ShareADay(BasePlugin):
    """A late penalty: a share of the points for each day that has begun."""

    if Float is not None:
        share = Float(0.1, help="of the points, 0 to 1").tag(config=True)

    def late_submission_penalty(self, student_id, score, total_seconds_late):
        """Points to take off."""
        return min(1.0, self.share * math.ceil(total_seconds_late / 86_400)) * score


def _replaced(steps: list, old: type, new: type) -> list:
    return [new if step is old else step for step in steps]


if Autograde is not None:
    RELEASE = _replaced(GenerateAssignment.preprocessors.default(), ClearSolutions, PutStubs)
    SANITIZE = list(Autograde.sanitize_preprocessors.default())
    AUTOGRADE = _replaced(Autograde.autograde_preprocessors.default(), Execute, MarkInSandbox)
    FEEDBACK = [HideHiddenTests, *GenerateFeedback.preprocessors.default()]
