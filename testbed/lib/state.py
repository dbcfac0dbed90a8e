"""The state folder of one bed: where everything about it lies.

    lock                     held by the command that is changing the bed
    secrets.json             tokens and keys of this bed, made at random
    run/COMPONENT.SERVER.json   one record for each server (see process.py)
    logs/COMPONENT.SERVER.log
    COMPONENT/               the component's own files
    COMPONENT/env.json       written last: its variables, once it is ready
    kubectl/                 what kubectl remembers
"""

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
from pathlib import Path

from . import process

#: Roles with a password on every PostgreSQL server of a bed.
POSTGRES_ROLES = ("admin", "owner", "reader")


class Bed:
    """One bed, which may or may not be running."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()

    @contextlib.contextmanager
    def locked(self):
        """Keeps other commands from changing this bed; creates the folder."""
        path = self.folder / "lock"
        while True:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                file = open(path, "w")
            except FileNotFoundError:
                continue
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _same_file(file, path):
                    yield
                    return
            # A `down` removed the folder while we waited: start over.

    def secrets(self):
        """Names and values of this bed's credentials."""
        path = self.folder / "secrets.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        fresh = {
            "admin_token": secrets.token_hex(20),
            "user_token": secrets.token_hex(20),
            "node_token": secrets.token_hex(20),
            "s3_access_key": "bed" + secrets.token_hex(8),
            "s3_secret_key": secrets.token_hex(20),
            "azure_account_key": base64.b64encode(secrets.token_bytes(64)).decode(),
            **{f"postgres_{role}": secrets.token_hex(16) for role in POSTGRES_ROLES},
        }
        if not fresh.keys() <= known.keys():  # it is new, or an older version of this program made it
            known = {**fresh, **known}
            process.write_atomically(path, json.dumps(known) + "\n")
        return known

    def home(self, component):
        """The folder for a component's own files."""
        path = self.folder / component
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, component, name, argv, **options):
        """Starts one server of a component (see process.start)."""
        return process.start(self.folder, component, name, argv, self.log(component, name), **options)

    def log(self, component, name):
        """The file that takes what a server prints."""
        return self.folder / "logs" / f"{component}.{name}.log"

    def servers(self, component=None):
        every = process.recorded(self.folder)
        return [each for each in every if component in (None, each.component)]

    def mark_ready(self, component, variables):
        path = self.folder / component / "env.json"
        process.write_atomically(path, json.dumps(variables) + "\n")

    def variables(self, component):
        """The variables of a component; None if it never got ready."""
        try:
            return json.loads((self.folder / component / "env.json").read_text())
        except (OSError, ValueError):
            return None

    def is_up(self, component):
        # A component without servers is up once it is ready.
        return self.variables(component) is not None and all(server.alive() for server in self.servers(component))

    def stop(self, component):
        """Ends a component's servers and removes its files. Logs stay."""
        servers = self.servers(component.name)
        left = process.stop(servers)
        for server in servers:
            process.forget(self.folder, server)
        component.clean_up(self)
        self._remove(component.name)
        return left

    def stop_all(self, components, keep_logs):
        """Ends whatever belongs to this folder; removes what the bed put there.

        Other files stay, and with them the folder: it may be anybody's.
        """
        left = process.stop(self.servers())
        process.stop_stray(self.folder)
        for component in components:
            if (self.folder / component.name).is_dir():
                component.clean_up(self)
        for name in [*(each.name for each in components), "run", "kubectl", *([] if keep_logs else ["logs"])]:
            self._remove(name)
        for name in ["secrets.json", "lock"]:
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # only if it is empty
        return sorted(set(left) | set(process.stray(self.folder)))

    def _remove(self, name):
        """Removes a folder, but nothing through a mount that is still in it: behind one may be anybody's files."""
        folder = self.folder / name
        if not process.mounts_below(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _same_file(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False
