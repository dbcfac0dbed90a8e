"""Builds from Python packages."""

import platform
import subprocess
import sys

from .cache import BuildFailed, Recipe


class FromPyPI(Recipe):
    """Python packages in a folder of their own, for PYTHONPATH; versions and hashes are in `requirements`, a file."""

    def __init__(self, name, requirements, usual_seconds):
        self.name = name
        self.requirements = requirements
        self.usual_seconds = usual_seconds

    def inputs(self):
        # A wheel with compiled code is for one version of Python and one machine.
        return ["1", self.requirements.read_bytes(), platform.python_version_tuple()[1], platform.machine()]

    def build(self, folder, log):
        need_pip()
        self.run(
            [
                sys.executable, "-m", "pip", "install",
                "--target", folder,
                "--requirement", self.requirements,
                "--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-input", "--disable-pip-version-check",
                "--no-cache-dir",
            ],
            log,
        )


def need_pip():
    """Fails early, and in words, where pip is missing."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        raise BuildFailed("pymongo is fetched by pip: install it for this Python (Debian: python3-pip)")
