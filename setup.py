"""Puts weights/ into what is built, as segcourse/_weights; all else stands in pyproject.toml."""

from pathlib import Path
from shutil import copytree, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithWeights(build_py):
    """A wheel has the weights inside the package; an editable install finds the repository's."""

    def run(self):
        """Build the modules, then copy the weights, with nothing left of an earlier build."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "segcourse" / "_weights"
            rmtree(target, ignore_errors=True)
            copytree("weights", target)


setup(cmdclass={"build_py": BuildWithWeights})
