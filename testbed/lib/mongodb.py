"""The component `mongodb`: FerretDB, which speaks MongoDB's wire protocol and says that it is 7.0, over PostgreSQL 18 with
DocumentDB.

No package registry has a real mongod. What this one does otherwise is in README.md, and the workflow runs the same tests
against real ones.
"""

import os
import subprocess
import sys
from pathlib import Path

from . import certificates, debian, postgres
from .component import Component
from .debian import FromDebian
from .golang import GoInstall
from .process import free_ports
from .pypi import FromPyPI

FERRETDB = GoInstall("ferretdb", "github.com/FerretDB/FerretDB/v2/cmd/ferretdb", "v2.7.0", usual_seconds=90)
DOCUMENTDB = FromDebian(
    "postgresql-18-documentdb",
    suite="sid",
    packages=["postgresql-18", "postgresql-18-documentdb"],
    programs="usr/lib/postgresql/18/bin",
    keep=["usr/lib", "usr/lib64", "usr/share/postgresql"],
    modules="usr/lib/postgresql/18/lib",
    links={"usr/share/postgresql/18/extension/postgis.control": "postgis-3.control"},
    usual_seconds=200,
)
PYMONGO = FromPyPI("pymongo", Path(__file__).resolve().parent.parent / "pymongo" / "requirements.txt", usual_seconds=10)

SETTINGS = """
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
cron.host = '{socket}'
documentdb.localhost_connection_string = 'host={socket}'
"""

#: Only FerretDB is asked for passwords: the socket lies in the bed's own folder.
ACCESS = """
local all all trust
"""

CREATE = "CREATE EXTENSION documentdb CASCADE;"
#: A client's first question. The server's name is checked, too.
PING = "import pymongo, sys; pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=2000).admin.command('ping')"


class MongoDb(Component):
    """One server, with passwords; its data is thrown away with the bed."""

    name = "mongodb"
    major = 18
    packages = {**debian.PACKAGES, **certificates.PACKAGES, "setpriv": "util-linux"}

    def recipes(self):
        return [FERRETDB, DOCUMENTDB, PYMONGO]

    def programs(self):
        return DOCUMENTDB.ensure() / "usr/lib/postgresql/18/bin"

    def start(self, bed, cancelled):
        return _Start(self, bed, cancelled).run()


class _Start(postgres.Start):
    """One attempt to start the two servers."""

    settings = postgres.SETTINGS + SETTINGS
    access = ACCESS

    def __init__(self, component, bed, cancelled):
        super().__init__(component, bed, cancelled)
        self.mongodb_port, self.tls_port = free_ports(2)

    def run(self):
        self._certificates()
        self._make_cluster()
        self._server()
        self._sql(CREATE)
        self._ferretdb()
        return self._variables()

    def _ferretdb(self):
        state = self.home / "state"
        state.mkdir()
        server = self.bed.start(
            self.name,
            "ferretdb",
            [
                FERRETDB.ensure() / "ferretdb",
                f"--postgresql-url={self._address()}",
                f"--listen-addr=127.0.0.1:{self.mongodb_port}",
                f"--listen-tls=127.0.0.1:{self.tls_port}",
                f"--listen-tls-cert-file={self.home / 'server.crt'}",
                f"--listen-tls-key-file={self.home / 'server.key'}",
                "--auth",
                "--telemetry=disable",
                "--debug-addr=-",
                "--log-level=warn",
                f"--state-dir={state}",
            ],
            port=self.mongodb_port,
        )
        self.servers.append(server)
        self._wait(server, self._answers)

    def _address(self):
        return f"postgres:///postgres?host={self.socket}&port={self.port}&user=admin"

    def _answers(self):
        """True when a client with a password is served over TLS."""
        words = [sys.executable, "-c", PING, self._url(self.tls_port, tls=True)]
        folders = {"PYTHONPATH": str(PYMONGO.ensure())}
        return subprocess.run(words, env={**os.environ, **folders}, capture_output=True, check=False).returncode == 0

    def _variables(self):
        """`_URL` is without TLS, for proxies that read along. With `_FERRETDB` and `_POSTGRES` a test starts a server of its
        own over the same data, which it may kill."""
        return {
            "DRCTL_BED_MONGODB_URL": self._url(self.mongodb_port),
            "DRCTL_BED_MONGODB_TLS_URL": self._url(self.tls_port, tls=True),
            "DRCTL_BED_MONGODB_FERRETDB": str(FERRETDB.ensure() / "ferretdb"),
            "DRCTL_BED_MONGODB_POSTGRES": self._address(),
            "DRCTL_BED_MONGODB_CA": str(self.home / "authority.crt"),
            "DRCTL_BED_MONGODB_PYMONGO": str(PYMONGO.ensure()),
        }

    def _url(self, port, tls=False):
        more = f"&tls=true&tlsCAFile={self.home / 'authority.crt'}" if tls else ""
        password = self.secrets["postgres_admin"]
        return f"mongodb://admin:{password}@127.0.0.1:{port}/?directConnection=true{more}"
