"""Builds from npm packages."""

import re
import shutil
import subprocess

from .cache import BuildFailed, Recipe

#: What runs them: {command: Debian package}. A machine that has a newer Node keeps it.
PACKAGES = {"node": "nodejs", "npm": "npm"}
OLDEST_NODE = 18


class FromNpm(Recipe):
    """A package that npm installs, with all that it depends on pinned by the `package-lock.json` in `source`."""

    def __init__(self, name, source, usual_seconds):
        self.name = name
        self.source = source
        self.usual_seconds = usual_seconds

    def inputs(self):
        return ["1", *((self.source / file).read_bytes() for file in ("package.json", "package-lock.json"))]

    def build(self, folder, log):
        need_node()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(self.source / file, folder)
        # No package may run a script of its own while it is installed.
        self.run(
            ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier",
             "--cache", folder / ".npm"],
            log,
            cwd=folder,
        )
        shutil.rmtree(folder / ".npm", ignore_errors=True)


def need_node():
    """Fails early, and in words, where Node is missing or too old."""
    try:
        text = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise BuildFailed(f"Azurite needs Node: install Node {OLDEST_NODE} or newer, with npm") from None
    found = re.match(r"v(\d+)\.", text)
    if not found or int(found[1]) < OLDEST_NODE:
        raise BuildFailed(f"Node {OLDEST_NODE} or newer is needed; found {text.strip()}")
