"""Programs that tests and checks need and that are not servers."""

import shutil
from pathlib import Path

from .cache import Recipe

REPOSITORY = Path(__file__).parent.parent.parent

#: What the demo, `docs/recover.sh` and its test use: {command: Debian package}.
TEST_PROGRAMS = {
    "zstd": "zstd",
    "jq": "jq",
    "b3sum": "b3sum",
    "curl": "curl",
    "age": "age",
    "ssh-keygen": "openssh-client",
}


class CargoDeny(Recipe):
    """cargo-deny, built for a short build and not for speed: it runs for seconds."""

    name = "cargo-deny"
    usual_seconds = 70
    version = "0.20.2"

    def inputs(self):
        return [self.version, *(f"{key}={value}" for key, value in self._settings().items())]

    def build(self, folder, log):
        objects = folder / "target"
        self.run(
            ["cargo", "install", "cargo-deny", "--locked", "--version", self.version, "--root", folder],
            log,
            cwd=REPOSITORY,  # for its toolchain
            CARGO_TARGET_DIR=str(objects),
            **self._settings(),
        )
        shutil.rmtree(objects)

    @staticmethod
    def _settings():
        return {
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
            "CARGO_PROFILE_RELEASE_DEBUG": "0",
        }


CARGO_DENY = CargoDeny()
