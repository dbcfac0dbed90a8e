"""The components `postgres` and `postgres18`: PostgreSQL 15 with pgbouncer before it, and PostgreSQL 18.

Each is made anew for its bed: data, certificate authority, passwords. 15 is the machine's own Debian package;
18 comes from a later Debian release and is not installed.
"""

import os
import pwd
import subprocess
from pathlib import Path

from . import certificates, debian
from .component import Component
from .debian import FromDebian
from .process import StartFailed, free_ports, wait_until, write_atomically
from .state import POSTGRES_ROLES

#: Names that the server's certificate is for. The last one is found by no resolver: it is for tests of the name check.
NAMES = ["localhost", "127.0.0.1", "db.drctl.test"]
START_SECONDS = 60
POOLER_PROGRAM = "/usr/sbin/pgbouncer"
POSTGRES_18 = FromDebian(
    "postgresql-18",
    suite="sid",
    packages=["postgresql-18"],
    programs="usr/lib/postgresql/18/bin",
    keep=["usr/lib", "usr/lib64", "usr/share/postgresql"],
    usual_seconds=20,
)

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{socket}'
max_connections = 200
max_locks_per_transaction = 256
max_prepared_transactions = 16
password_encryption = 'scram-sha-256'
ssl = on
ssl_cert_file = '{home}/server.crt'
ssl_key_file = '{home}/server.key'

# As an application's server: another time zone than the tests', and replication slots can be made.
timezone = 'Europe/Berlin'
wal_level = logical

# The data is thrown away with the bed.
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_size = 4GB
checkpoint_timeout = 30min

# All that a server leaves when it is killed lies in its folder.
dynamic_shared_memory_type = mmap

log_line_prefix = '%m [%p] %q%u@%d '
"""

ACCESS = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""

ROLES = """
CREATE ROLE reader LOGIN PASSWORD '{postgres_reader}' IN ROLE pg_read_all_data;
CREATE ROLE owner LOGIN CREATEDB PASSWORD '{postgres_owner}';
"""

POOLER = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = {mode}
auth_type = scram-sha-256
auth_file = {home}/users.txt
client_tls_sslmode = allow
client_tls_cert_file = {home}/server.crt
client_tls_key_file = {home}/server.key
max_client_conn = 200
default_pool_size = 20
; As set-ups in use have it: with what it drops, a client's PGOPTIONS are lost without a word.
ignore_startup_parameters = extra_float_digits,options
"""

class Postgres(Component):
    """One PostgreSQL server; with `pooled`, two pgbouncers before it: one a transaction, one a session."""

    def __init__(self, name, major, recipe=None, pooled=False):
        self.name = name
        self.major = major
        self.recipe = recipe
        self.pooled = pooled
        # `unit` is an extension with tables that users add rows to.
        server = {
            f"/usr/lib/postgresql/{major}/bin/postgres": f"postgresql-{major}",
            f"/usr/lib/postgresql/{major}/lib/unit.so": f"postgresql-{major}-unit",
        }
        own = debian.PACKAGES if recipe else server
        self.packages = {
            **own,
            "openssl": "openssl",
            "setpriv": "util-linux",
            "/usr/share/zoneinfo/UTC": "tzdata",
            **({POOLER_PROGRAM: "pgbouncer"} if pooled else {}),
        }

    def recipes(self):
        return [self.recipe] if self.recipe else []

    def programs(self):
        """The folder with postgres, psql, pg_dump and pg_restore of this major."""
        base = self.recipe.ensure() if self.recipe else Path("/")
        return base / f"usr/lib/postgresql/{self.major}/bin"

    def start(self, bed, cancelled):
        return Start(self, bed, cancelled).run()


class Start:
    """One attempt to start a server and what belongs to it."""

    settings = SETTINGS
    access = ACCESS

    def __init__(self, component, bed, cancelled):
        self.component = component
        self.name = component.name
        self.bed = bed
        self.cancelled = cancelled
        self.home = bed.home(component.name)
        self.socket = self.home / "socket"
        self.secrets = bed.secrets()
        self.programs = component.programs()
        self.port, self.transaction_port, self.session_port = free_ports(3)
        self.servers = []

    def run(self):
        self._certificates()
        self._make_cluster()
        self._server()
        self._sql(ROLES.format(**self.secrets))
        if self.component.pooled:
            users = (f'"{role}" "{self.secrets[f"postgres_{role}"]}"\n' for role in POSTGRES_ROLES)
            self._private("users.txt", "".join(users))
            self._pooler("transaction", self.transaction_port)
            self._pooler("session", self.session_port)
        return self._variables()

    def _variables(self):
        authority = self.home / "authority.crt"
        password = self.secrets["postgres_admin"]
        address = f"admin:{password}@127.0.0.1:{self.port}"
        found = {
            "URL": f"postgresql://{address}/postgres?sslmode=verify-full&sslrootcert={authority}",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "SOCKET": str(self.socket),
            "CA": str(authority),
            "BIN": str(self.programs),
            **{f"{role.upper()}_PASSWORD": self.secrets[f"postgres_{role}"] for role in POSTGRES_ROLES},
        }
        if self.component.pooled:
            found["TRANSACTION_POOLER_PORT"] = str(self.transaction_port)
            found["SESSION_POOLER_PORT"] = str(self.session_port)
        found = {f"DRCTL_BED_POSTGRES{self.component.major}_{name}": value for name, value in found.items()}
        if self.component.recipe:  # where drctl would not find the client programs by itself
            found["DRCTL_PG_BIN_DIR"] = str(self.programs)
        return found

    def _certificates(self):
        certificates.make(self.home, NAMES, self._tool)
        _hand_over(self.home / "server.key")  # the server refuses a key that is not its own

    def _make_cluster(self):
        for folder in (self.home / "data", self.socket):
            folder.mkdir()
            _hand_over(folder)
        self._private("admin.password", self.secrets["postgres_admin"] + "\n")
        self._tool([
            *unprivileged(),
            self.programs / "initdb",
            f"--pgdata={self.home / 'data'}",
            "--username=admin",
            f"--pwfile={self.home / 'admin.password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ])
        settings = self.settings.format(port=self.port, socket=self.socket, home=self.home)
        for file, text in (("postgresql.conf", settings), ("pg_hba.conf", self.access)):
            (self.home / "data" / file).write_text(text)

    def _server(self):
        server = self.bed.start(
            self.name,
            "postgres",
            [*unprivileged(), self.programs / "postgres", "-D", self.home / "data"],
            port=self.port,
            stop_signal="SIGQUIT",  # SIGTERM waits for its clients
        )
        self.servers.append(server)
        self._wait(server, lambda: self._psql("SELECT 1").returncode == 0)

    def _pooler(self, mode, port):
        name = f"pgbouncer-{mode}"
        text = POOLER.format(home=self.home, server_port=self.port, port=port, mode=mode)
        self._private(f"{name}.ini", text)
        words = [*unprivileged(), POOLER_PROGRAM, self.home / f"{name}.ini"]
        server = self.bed.start(self.name, name, words, port=port)
        self.servers.append(server)
        self._wait(server, lambda: True)

    def _wait(self, server, ready):
        wait_until(ready, server, self.servers, START_SECONDS, self.cancelled)

    def _private(self, name, text):
        """A file that only the server may read."""
        write_atomically(self.home / name, text)
        _hand_over(self.home / name)

    def _sql(self, text):
        done = self._psql(text)
        if done.returncode != 0:
            raise StartFailed(f"{self.name}/postgres", done.stderr.strip(), self.bed.log(self.name, "postgres"))

    def _psql(self, text):
        words = [self.programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.socket, "-p", str(self.port)]
        return subprocess.run(
            [*words, "-U", "admin", "-d", "postgres", "-f", "-"],
            input=text, capture_output=True, text=True, check=False, env=_without_defaults(),
        )

    def _tool(self, words):
        """Runs a program that prepares something; what it prints goes to a log of its own."""
        log = self.bed.log(self.name, "setup")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            code = subprocess.run(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
                cwd=self.home, env=_without_defaults(),
            ).returncode
        if code != 0:
            name = next(Path(word).name for word in words if Path(word).name in ("initdb", "openssl"))
            raise StartFailed(f"{self.name}/{name}", f"it ended with {code}", log)


def unprivileged():
    """Words before a command that refuses to run as root.

    It runs as nobody then, who may still look into folders: the state folder may lie below one that is closed to him.
    """
    if os.geteuid() != 0:
        return []
    keep = "+dac_read_search"
    return [
        "setpriv", "--reuid=nobody", f"--regid={_nobody().pw_gid}", "--clear-groups",
        f"--inh-caps={keep}", f"--ambient-caps={keep}", "--securebits=+no_setuid_fixup",  # the last one for access(2)
        "--",
    ]


def _hand_over(path):
    """Gives a file or folder to the user that the servers run as."""
    if os.geteuid() == 0:
        os.chown(path, _nobody().pw_uid, _nobody().pw_gid)


def _nobody():
    return pwd.getpwnam("nobody")


def _without_defaults():
    """The environment without a developer's own settings of libpq."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
