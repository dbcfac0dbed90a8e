"""The components `source` and `target`: a Kubernetes control plane each.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler are the real
ones. Nodes are not: kwok plays them, so that a Pod is scheduled and becomes
Ready within a second and nothing runs.
"""

import base64
import http.client
import json
import ssl
import subprocess
from pathlib import Path

from .cache import Recipe
from .component import Component
from .golang import ENVIRONMENT, FLAGS, STRIP, GoInstall, module_folder, need_go
from .process import free_ports, wait_until, write_atomically

VERSION = "1.36.3"
SOURCE = Path(__file__).parent.parent / "kubernetes"
PROGRAMS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"]
NODES = ["node-a", "node-b"]
USER_NAME = "alice"
START_SECONDS = 120


class Kubernetes(Recipe):
    """One binary of our own that is all six programs, by the name it is called."""

    name = "kubernetes"
    usual_seconds = 420

    def inputs(self):
        files = [(SOURCE / each).read_bytes() for each in ("go.mod", "go.sum", "main.go")]
        return [*files, *FLAGS, self._link_flags(), *PROGRAMS]

    def build(self, folder, log):
        need_go()
        binary = folder / "kubernetes"
        self.run(
            ["go", "build", "-v", *FLAGS, "-ldflags", self._link_flags(), "-o", binary, "."],
            log,
            cwd=SOURCE,
            **ENVIRONMENT,
        )
        for program in PROGRAMS:
            (folder / program).symlink_to(binary.name)

    @staticmethod
    def _link_flags():
        major, minor, _ = VERSION.split(".")
        package = "k8s.io/component-base/version"
        return (
            f"{STRIP} -X {package}.gitVersion=v{VERSION}"
            f" -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        )


class Kwok(GoInstall):
    """kwok, and from its module the stages that say what fake Nodes and Pods do."""

    MODULE = "sigs.k8s.io/kwok"
    STAGES = ["node/fast", "node/heartbeat-with-lease", "pod/fast"]

    def __init__(self):
        super().__init__("kwok", f"{self.MODULE}/cmd/kwok", "v0.8.0", usual_seconds=100)

    def inputs(self):
        return [*super().inputs(), *self.STAGES]

    def build(self, folder, log):
        super().build(folder, log)
        stages = Path(module_folder(self.MODULE, self.version)) / "kustomize" / "stage"
        texts = [
            file.read_text().strip()
            for each in self.STAGES
            for file in sorted((stages / each).glob("*.yaml"))
            if file.name != "kustomization.yaml"
        ]
        (folder / "stages.yaml").write_text("\n---\n".join(texts) + "\n")


KUBERNETES = Kubernetes()
KWOK = Kwok()


class Cluster(Component):
    """A control plane with two fake Nodes, an admin and a user without rights."""

    packages = {"openssl": "openssl"}

    def __init__(self, name, apiserver_flags=()):
        self.name = name
        self.flags = list(apiserver_flags)

    def recipes(self):
        return [KUBERNETES, KWOK]

    def start(self, bed, cancelled):
        return Start(self.name, self.flags, bed, cancelled).run()


class Start:
    """One attempt to start a cluster: the servers one after the other."""

    def __init__(self, name, flags, bed, cancelled):
        self.name = name
        self.flags = flags
        self.bed = bed
        self.cancelled = cancelled
        self.home = bed.home(name)
        self.secrets = bed.secrets()
        self.programs = KUBERNETES.ensure()
        self.etcd_port, self.peer_port, self.port = free_ports(3)
        self.certificates = self.home / "certificates"
        self.account_key = self.home / "service-account.key"
        self.kubeconfig = self.home / "admin.kubeconfig"
        self.servers = []

    def run(self):
        self._prepare()
        self._etcd()
        api = self._apiserver()
        self._write_kubeconfigs()
        self._controllers(api)
        self._nodes(api)
        prefix = f"DRCTL_BED_{self.name.upper()}"
        return {
            f"{prefix}_KUBECONFIG": str(self.kubeconfig),
            f"{prefix}_USER_KUBECONFIG": str(self.home / f"{USER_NAME}.kubeconfig"),
            f"{prefix}_ETCD": f"http://127.0.0.1:{self.etcd_port}",
            # kubectl remembers a server's kinds by its address, and the next bed may get the same port.
            "KUBECACHEDIR": str(self.bed.folder / "kubectl"),
            "DRCTL_BED_USER_NAME": USER_NAME,
            "DRCTL_BED_USER_TOKEN": self.secrets["user_token"],
        }

    def _prepare(self):
        write_atomically(self.home / "tokens.csv", "".join(f"{line}\n" for line in self._tokens()))
        subprocess.run(
            ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", self.account_key],
            check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )

    def _tokens(self):
        """Who may come: token, name, id, groups."""
        return [
            f'{self.secrets["admin_token"]},admin,admin,"system:masters"',
            f"{self.secrets['user_token']},{USER_NAME},{USER_NAME}",
        ]

    def _launch(self, program, *words, port=0):
        server = self.bed.start(self.name, program, [self.programs / program, *words], port=port)
        self.servers.append(server)
        return server

    def _wait(self, server, ready):
        wait_until(ready, server, self.servers, START_SECONDS, self.cancelled)

    def _etcd(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.peer_port))
        server = self._launch(
            "etcd",
            "--name=bed",
            f"--data-dir={self.home / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=bed={peer}",
            "--unsafe-no-fsync",  # the data is thrown away with the bed
            "--quota-backend-bytes=8589934592",  # benchmarks store more than the 2 GiB default
            "--auto-compaction-mode=revision",
            "--auto-compaction-retention=1000",
            "--log-level=warn",
            port=self.etcd_port,
        )
        self._wait(server, lambda: _etcd_is_healthy(self.etcd_port))

    def _apiserver(self):
        server = self._launch(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--cert-dir={self.certificates}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # a loopback address may not be an Endpoint
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.account_key}",
            f"--service-account-signing-key-file={self.account_key}",
            f"--token-auth-file={self.home / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--profiling=false",
            *self.flags,
            port=self.port,
        )
        api = Api(self.port, self.certificates / "apiserver.crt", self.secrets["admin_token"])
        self._wait(server, lambda: api.answers("/readyz"))
        return api

    def _write_kubeconfigs(self):
        authority = (self.certificates / "apiserver.crt").read_bytes()
        for user, token in (("admin", "admin_token"), (USER_NAME, "user_token")):
            write_atomically(
                self.home / f"{user}.kubeconfig",
                kubeconfig(self.name, self.port, authority, user, self.secrets[token]),
            )

    def _controllers(self, api):
        faster = ["--kube-api-qps=500", "--kube-api-burst=1000"]  # the defaults are for shared clusters
        manager = self._launch(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self.account_key}",
            f"--root-ca-file={self.certificates / 'apiserver.crt'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            # A fake Node whose heartbeat is late on a busy machine is not broken: its Pods would be
            # marked not ready, and nothing of kwok would ever mark them ready again.
            "--node-monitor-grace-period=1h",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            *faster,
        )
        self._launch(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            *faster,
        )
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait(manager, lambda: api.answers(account))

    def _nodes(self, api):
        stages = KWOK.ensure()
        kwok = self.bed.start(
            self.name,
            "kwok",
            [
                stages / "kwok",
                f"--kubeconfig={self.kubeconfig}",
                "--manage-all-nodes=true",
                f"--config={stages / 'stages.yaml'}",
            ],
            environment={"HOME": str(self.home)},  # a developer's own kwok settings must not count
        )
        self.servers.append(kwok)
        self._wait(kwok, lambda: all(api.has_or_creates("/api/v1/nodes", node(name)) for name in NODES))
        self._wait(kwok, lambda: all(node_is_ready(api, name) for name in NODES))


class Api:
    """The few calls to a kube-apiserver that starting it takes."""

    def __init__(self, port, authority, token):
        self.port = port
        self.authority = authority
        self.token = token

    def get(self, path):
        """Status and body; (0, None) while nobody answers."""
        return self._call("GET", path)

    def answers(self, path):
        return self.get(path)[0] == 200

    def has_or_creates(self, path, body):
        return self._call("POST", path, body)[0] in (201, 409)

    def _call(self, method, path, body=None):
        try:
            # The server writes this file while it starts.
            context = ssl.create_default_context(cafile=self.authority)
        except OSError:
            return 0, None
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text.decode(errors="replace")


def _etcd_is_healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read()).get("health") == "true"
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def node(name):
    """A Node that is large enough for any test."""
    room = {"cpu": "1000", "memory": "1000Gi", "pods": "10000", "ephemeral-storage": "1000Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
        },
        "status": {"allocatable": room, "capacity": room},
    }


def node_is_ready(api, name):
    status, answer = api.get(f"/api/v1/nodes/{name}")
    if status != 200:
        return False
    conditions = {each["type"]: each["status"] for each in answer["status"].get("conditions", [])}
    tainted = any(taint["effect"] != "PreferNoSchedule" for taint in answer["spec"].get("taints", []))
    return conditions.get("Ready") == "True" and not tainted


def kubeconfig(cluster, port, authority, user, token):
    encoded = base64.b64encode(authority).decode()
    return f"""apiVersion: v1
kind: Config
current-context: {cluster}
clusters:
- name: {cluster}
  cluster:
    server: https://127.0.0.1:{port}
    certificate-authority-data: {encoded}
users:
- name: {user}
  user:
    token: {token}
contexts:
- name: {cluster}
  context:
    cluster: {cluster}
    user: {user}
"""
