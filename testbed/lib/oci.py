"""Images of containers, written without a container engine: an OCI layout in one tar file.

The files come from this machine; a program brings the libraries that the loader would give it here.
"""

import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path


class Layer:
    """The files of an image, which has one layer."""

    def __init__(self):
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", format=tarfile.GNU_FORMAT)
        self._present = set()

    def add_program(self, source, target=None):
        """A program and the libraries that it needs."""
        self.add_file(source, target, mode=0o755)
        self.add_libraries(source)

    def add_libraries(self, source):
        """What ldd names for a program or a library."""
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(/\S+) \(0x", listed):
            self.add_file(path, mode=0o755)

    def add_tree(self, source, leave_out=r"(?!)"):
        """A folder with everything in it but the files whose path matches `leave_out`; with libraries."""
        for path in sorted(Path(source).rglob("*")):
            if path.is_file() and not re.search(leave_out, str(path)):
                mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                self.add_file(path, mode=mode)
                if path.suffix == ".so" or (mode == 0o755 and path.read_bytes()[:4] == b"\x7fELF"):
                    self.add_libraries(path)

    def add_file(self, source, target=None, mode=0o644):
        self.add_bytes(target or source, Path(source).read_bytes(), mode)  # a link becomes what it points to

    def add_bytes(self, target, data, mode=0o644):
        # The image has its libraries in one place, as Debian has: /lib is a link.
        name = re.sub(r"^/(s?bin|lib|lib64)/", r"/usr/\1/", str(target))
        entry = tarfile.TarInfo(name.lstrip("/"))
        entry.mode, entry.size = mode, len(data)
        self._add(entry, io.BytesIO(data))

    def add_folder(self, target, mode=0o755):
        entry = tarfile.TarInfo(str(target).lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._add(entry)

    def add_link(self, target, to):
        entry = tarfile.TarInfo(str(target).lstrip("/"))
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        self._add(entry)

    def _add(self, entry, data=None):
        if entry.name not in self._present:
            self._present.add(entry.name)
            self._tar.addfile(entry, data)

    def finish(self):
        self._tar.close()
        return self._bytes.getvalue()


def write_image(path, name, layer, **config):
    """Writes an image that `ctr images import` takes; `config` is that of the OCI format: Entrypoint, Env, User."""
    settings = {
        "architecture": "amd64" if _machine() == "x86_64" else "arm64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = {}

    def blob(kind, data):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        blobs[_digest(data)] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": _digest(data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", settings),
        "layers": [blob("layer.v1.tar", layer)],
    }
    listed = {**blob("manifest.v1+json", manifest), "annotations": {"io.containerd.image.name": name}}
    with tarfile.open(path, "w") as archive:
        files = {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode(),
            **{f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()},
        }
        for name_in, data in files.items():
            entry = tarfile.TarInfo(name_in)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _machine():
    return subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
