"""The images of the component `node`: pause, and PostgreSQL 15 with a shell."""

import shutil
import subprocess
from pathlib import Path

from .cache import Recipe
from .golang import ENVIRONMENT, FLAGS, STRIP, need_go
from .oci import Layer, write_image

SOURCE = Path(__file__).parent.parent / "images"
PAUSE = "drctl.test/pause:1"
POSTGRES = "drctl.test/postgres:15"
#: The user that the image's programs run as, as in the well-known image.
POSTGRES_ID = 999
#: Programs that a script in a container may use.
TOOLS = (
    "cat chmod chown cp cut date dirname basename echo env expr false grep head id ls mkdir mktemp mv printf pwd rm "
    "sed seq sleep sort stat tail test touch tr true uname wc"
).split()
#: Its compiler for queries needs 100 MB of libraries; it works without.
WITHOUT = r"llvmjit|/bitcode/|/pgxs/|/man/"


class Images(Recipe):
    """OCI archives, made from files of this machine."""

    name = "images"
    usual_seconds = 20
    #: Packages whose files go into an image.
    packages = ["postgresql-15", "postgresql-client-15", "dash", "coreutils", "grep", "sed", "tzdata", "libc6", "libc-bin"]

    def inputs(self):
        files = [*sorted(SOURCE.rglob("*")), Path(__file__), Path(__file__).with_name("oci.py")]
        versions = subprocess.run(
            ["dpkg-query", "--show", *self.packages], capture_output=True, text=True, check=False
        ).stdout
        return [*(each.read_bytes() for each in files if each.is_file()), versions]

    def build(self, folder, log):
        need_go()
        pause = folder / "pause"
        words = ["go", "build", *FLAGS, "-ldflags", STRIP, "-o", pause, "."]
        self.run(words, log, cwd=SOURCE / "pause", **ENVIRONMENT)
        layer = Layer()
        layer.add_file(pause, "/pause", mode=0o755)
        write_image(folder / "pause.tar", PAUSE, layer.finish(), Entrypoint=["/pause"], User="65534:65534")
        pause.unlink()
        self._postgres(folder / "postgres.tar")

    @staticmethod
    def _postgres(path):
        base = "/usr/lib/postgresql/15"
        layer = Layer()
        for link in ("bin", "lib", "lib64", "sbin"):
            layer.add_link(f"/{link}", f"usr/{link}")
        layer.add_program(shutil.which("dash"), "/usr/bin/sh")
        for tool in TOOLS:
            layer.add_program(shutil.which(tool), f"/usr/bin/{tool}")
        layer.add_tree(base, leave_out=WITHOUT)
        layer.add_tree("/usr/share/postgresql/15", leave_out=WITHOUT)
        for each in ("/usr/share/zoneinfo", "/usr/lib/locale/C.utf8"):
            layer.add_tree(each, leave_out=r"zoneinfo/(posix|right)/")
        layer.add_file(SOURCE / "postgres-entrypoint.sh", "/usr/local/bin/entrypoint", mode=0o755)
        layer.add_bytes(
            "/etc/passwd",
            f"root:x:0:0:root:/root:/bin/sh\npostgres:x:{POSTGRES_ID}:{POSTGRES_ID}::/tmp:/bin/sh\n".encode(),
        )
        layer.add_bytes("/etc/group", f"root:x:0:\npostgres:x:{POSTGRES_ID}:\n".encode())
        layer.add_bytes("/etc/nsswitch.conf", b"hosts: files dns\n")
        layer.add_folder("/tmp", mode=0o1777)
        layer.add_folder("/var/lib/postgresql", mode=0o1777)
        write_image(
            path,
            POSTGRES,
            layer.finish(),
            Entrypoint=["/usr/local/bin/entrypoint"],
            Env=[f"PATH={base}/bin:/usr/bin", "PGDATA=/var/lib/postgresql/data", "LANG=C.UTF-8"],
            User=f"{POSTGRES_ID}:{POSTGRES_ID}",
            WorkingDir="/",
        )


IMAGES = Images()
