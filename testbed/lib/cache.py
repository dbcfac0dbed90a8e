"""Builds that are made once and shared by all clones on a machine.

Each build lives in `CACHE/<name>-<hash of its recipe>/`. It is made in a
temporary folder and renamed, so a folder that exists is complete. One lock
over all builds keeps two clones from building at the same time: on two cores
that would only make both slow.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class BuildFailed(Exception):
    """A build or an installation did not work; the text says what to do."""


def root():
    """The cache folder: DRCTL_CACHE, or ~/.cache/drctl."""
    chosen = os.environ.get("DRCTL_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "drctl"


def say(text):
    print(f"bed: {text}", file=sys.stderr, flush=True)


class Recipe:
    """How one thing is built.

    Subclasses set `name` and `usual_seconds`, and define `inputs` (everything
    that the result depends on) and `build` (make it in an empty folder).
    """

    name = ""
    usual_seconds = 0

    def inputs(self):
        """Texts and bytes that the result depends on."""
        raise NotImplementedError

    def build(self, folder, log):
        """Makes the result in `folder`; output of the tools goes to `log`."""
        raise NotImplementedError

    def folder(self):
        digest = hashlib.sha256()
        for each in self.inputs():
            data = each.encode() if isinstance(each, str) else each
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        return root() / f"{self.name}-{digest.hexdigest()[:12]}"

    def ensure(self):
        """The folder of the finished build, which is made if it is missing."""
        folder = self.folder()
        if folder.is_dir():
            return folder
        with lock("build", f"waiting for another build before {self.name}"):
            if not folder.is_dir():
                self._build_into(folder)
        return folder

    def _build_into(self, folder):
        say(f"building {self.name}; the first time takes about {human(self.usual_seconds)} on two cores")
        started = time.monotonic()
        log = root() / f"{self.name}.log"
        log.write_bytes(b"")
        for stale in root().glob(f".{self.name}-*"):  # of a build that was killed: we hold the lock
            shutil.rmtree(stale, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=root()))
        try:
            self.build(unfinished, log)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        say(f"built {self.name} in {human(time.monotonic() - started)}")

    def run(self, argv, log, cwd=None, **variables):
        """Runs one tool of the build, with a line of progress now and then."""
        with open(log, "ab") as output:
            child = subprocess.Popen(
                ["nice", "-n", "5", *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd or root(),
                env={**os.environ, **variables},
            )
        try:
            self._watch(child, log)
        except BaseException:
            child.terminate()
            child.wait()
            raise
        if child.returncode != 0:
            lines = log.read_text(errors="replace").splitlines()[-20:]
            raise BuildFailed(
                f"building {self.name} failed ({' '.join(map(str, argv[:3]))} ended with {child.returncode}). "
                f"The end of {log}:\n" + "\n".join("  | " + line for line in lines)
            )

    def _watch(self, child, log):
        started = time.monotonic()
        pause = 2.0 if sys.stderr.isatty() else 30.0
        while True:
            try:
                child.wait(timeout=pause)
                break
            except subprocess.TimeoutExpired:
                steps = log.read_bytes().count(b"\n")
                passed = human(time.monotonic() - started)
                text = f"{self.name}: {steps} steps in {passed} (usually {human(self.usual_seconds)})"
                if sys.stderr.isatty():
                    print(f"\r\x1b[Kbed: {text}", end="", file=sys.stderr, flush=True)
                else:
                    say(text)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(name, while_waiting):
    """Holds `CACHE/<name>.lock`. The kernel frees it when its holder dies."""
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(while_waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_packages(packages):
    """Installs Debian packages that are missing: {command or absolute path: package}."""
    missing = sorted({package for wanted, package in packages.items() if not _present(wanted)})
    if not missing:
        return
    names = " ".join(missing)
    root_can_install = os.geteuid() == 0 or shutil.which("sudo")
    if not (shutil.which("apt-get") and root_can_install):
        raise BuildFailed(f"missing programs; install what provides: {names}")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    with lock("build", f"waiting for another build before installing {names}"):
        say(f"installing {names} with apt-get; this takes about a minute")
        log = root() / "packages.log"
        with open(log, "wb") as output:
            code = subprocess.run(
                [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL, "install", *missing],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            ).returncode
    if code != 0:
        raise BuildFailed(f"apt-get could not install {names}: see {log}")


def _present(wanted):
    return os.path.exists(wanted) if wanted.startswith("/") else shutil.which(wanted) is not None


# A package must not start a server of its own, nor make a PostgreSQL cluster that starts with the machine: the bed
# starts its servers itself. A machine that has its own rules for that keeps them.
#
# Other package sources of the machine may be unreachable; only the installation itself tells whether that matters.
INSTALL = """
set -u
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' >"$policy"
    chmod 755 "$policy"
fi
cluster=/etc/postgresql-common/createcluster.conf
case " $* " in *" postgresql-"*)
    if [ ! -e "$cluster" ]; then
        mkdir -p "${cluster%/*}"
        echo 'create_main_cluster = false' >"$cluster"
    fi
esac
apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
"""


def human(seconds):
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 100 else f"{seconds // 60} min {seconds % 60:02d} s"
