"""Builds from packages of another Debian release than the machine's own."""

import shutil
import subprocess

from .cache import BuildFailed, Recipe

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: What the build itself takes: {command or absolute path: package}.
PACKAGES = {"patchelf": "patchelf", KEYRING: "debian-archive-keyring"}


class FromDebian(Recipe):
    """Programs of another Debian release, with their libraries, in a folder of their own.

    Nothing is installed: the packages and all that they depend on are unpacked, and the programs are
    told to use the dynamic loader and the libraries beside them. So they run without chroot, see the
    machine's files and keep the file descriptors that they inherit.
    """

    def __init__(self, name, suite, packages, programs, keep, usual_seconds, modules=None, links=None):
        """`programs` is the folder of the programs, `keep` the folders that stay; both without a leading slash.

        `modules` is the folder of libraries that the programs load by name and that name others in it. `links` are those that
        the packages' scripts would make: {link: target}.
        """
        self.name = name
        self.suite = suite
        self.packages = packages
        self.programs = programs
        self.keep = keep
        self.modules = modules
        self.links = links or {}
        self.usual_seconds = usual_seconds

    def inputs(self):
        added = [*([self.modules] if self.modules else []), *(word for link in self.links.items() for word in link)]
        return ["1", self.suite, *self.packages, self.programs, *self.keep, *added]

    def build(self, folder, log):
        work, unpacked = folder / "work", folder / "work" / "root"
        unpacked.mkdir(parents=True)
        for archive in self._download(work, log):
            self.run(["dpkg-deb", "--extract", archive, unpacked], log)
        for each in self.keep:
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / each).rename(folder / each)
        shutil.rmtree(work)
        for link, target in self.links.items():
            (folder / link).symlink_to(target)
        for program in sorted((folder / self.programs).iterdir()):
            if program.read_bytes()[:4] == b"\x7fELF":
                self._bind(program, folder, log)
        for module in sorted((folder / self.modules).glob("*.so")) if self.modules else []:
            self._find_beside(module, log)

    def _download(self, work, log):
        """The packages and all that they depend on, as files. apt is told that nothing is installed."""
        for each in ("state/lists/partial", "cache/archives/partial"):
            (work / each).mkdir(parents=True)
        (work / "status").touch()
        (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {self.suite} main\n")
        settings = {
            "Dir::Etc::sourcelist": work / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": work / "state",
            "Dir::State::status": work / "status",
            "Dir::Cache": work / "cache",
            "Acquire::Languages": "none",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
        }
        apt = ["apt-get", "-q", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
        self.run([*apt, "update"], log)
        self.run([*apt, "install", "--yes", "--download-only", *self.packages], log)
        return sorted((work / "cache" / "archives").glob("*.deb"))

    def _bind(self, program, folder, log):
        """Makes a program use the loader and the libraries of this build, wherever it is started."""
        asked = subprocess.run(["patchelf", "--print-interpreter", program], capture_output=True, text=True, check=True)
        loader = asked.stdout.strip().lstrip("/")
        inside = loader if (folder / loader).exists() else f"usr/{loader}"
        (libraries,) = (folder / "usr" / "lib").glob("*-linux-gnu")
        up = "/".join([".."] * len(program.relative_to(folder).parent.parts))
        self.run(
            [
                "patchelf",
                "--set-interpreter", self.folder() / inside,  # where the build will lie when it is finished
                "--force-rpath",  # also for what its libraries load
                "--set-rpath", f"$ORIGIN/{up}/{libraries.relative_to(folder)}",
                program,
            ],
            log,
        )

    def _find_beside(self, module, log):
        """Makes a library that would look in the machine's own folder look in its own, then where the program looks."""
        asked = subprocess.run(["patchelf", "--print-rpath", module], capture_output=True, text=True, check=True)
        if asked.stdout.startswith("/"):
            self.run(["patchelf", "--force-rpath", "--set-rpath", "$ORIGIN", module], log)


def mirror():
    """The Debian archive that this machine's apt uses."""
    words = ["apt-get", "indextargets", "--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Created-By: Packages"]
    try:
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        raise BuildFailed("packages of another Debian release are fetched by apt-get, which is not here") from None
    for line in lines:
        origin, label, uri = line.split("\t")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise BuildFailed("apt knows no Debian archive; run apt-get update, and see /etc/apt/sources.list")
