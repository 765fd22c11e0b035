"""Puts notebooks and presets, which lie beside the package, into the wheel as `locheads/notebooks`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithNotebooks(build_py):
    """Builds the package with the notebooks of the checkout in it."""

    def run(self) -> None:
        """Copies notebooks and presets; an editable installation reads those of the checkout."""
        super().run()
        if not self.editable_mode:
            here, there = Path(__file__).parent / "notebooks", Path(self.build_lib) / "locheads" / "notebooks"
            shutil.copytree(
                here, there, ignore=shutil.ignore_patterns(".*", "runs", "data"), dirs_exist_ok=True
            )


setup(cmdclass={"build_py": WithNotebooks})
