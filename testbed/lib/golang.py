"""Builds from Go modules."""

import json
import re
import subprocess

from .cache import BuildFailed, Recipe

FLAGS = ["-trimpath", "-buildvcs=false"]
STRIP = "-s -w"
#: The developer's own settings must not change a shared build.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


class GoInstall(Recipe):
    """A program that its module builds as it is: `go install MODULE@VERSION`.

    Its dependencies are those of its own go.mod, checked against Go's
    checksum database.
    """

    def __init__(self, name, package, version, usual_seconds):
        self.name = name
        self.package = package
        self.version = version
        self.usual_seconds = usual_seconds

    def inputs(self):
        return [self.package, self.version, *FLAGS, STRIP]

    def build(self, folder, log):
        need_go()
        self.run(
            ["go", "install", "-v", *FLAGS, "-ldflags", STRIP, f"{self.package}@{self.version}"],
            log,
            GOBIN=str(folder),
            **ENVIRONMENT,
        )


def module_folder(module, version):
    """Where Go unpacked a module's source."""
    answer = subprocess.run(
        ["go", "mod", "download", "-json", f"{module}@{version}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/",
    )
    try:
        return json.loads(answer.stdout)["Dir"]
    except (ValueError, KeyError):
        raise BuildFailed(f"go could not download {module} {version}: {answer.stderr.strip()}") from None


def need_go():
    """Fails early, and in words, where Go is missing or too old."""
    try:
        text = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise BuildFailed("the test bed is built with Go: install Go 1.26 or newer") from None
    found = re.search(r"go(\d+)\.(\d+)", text)
    if found and (int(found[1]), int(found[2])) < (1, 21):
        raise BuildFailed(f"Go 1.21 or newer is needed (it fetches 1.26 by itself); found {text.strip()}")
