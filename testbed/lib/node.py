"""The component `node`: a control plane with a Node on which Pods really run.

kubelet, containerd and runc are the real ones, in a mount namespace of their own: what they mount, what they write to
folders that they have no setting for, and the kernel's settings that kubelet changes end with them. Else they have only
the state folder and one control group in each hierarchy. Pods take the machine's network, on the loopback interface.
"""

import contextlib
import hashlib
import os
import subprocess
import time
from pathlib import Path

from . import process
from .containerd import CONTAINERD
from .images import IMAGES, PAUSE, POSTGRES
from .kubernetes import KUBERNETES, Cluster, Start, kubeconfig, node_is_ready
from .process import StartFailed, free_ports, write_atomically

#: The apiserver reaches the kubelet by the name of its Node.
NODE = "localhost"
CLEAN_UP_SECONDS = 20
#: What containerd calls the containers of Kubernetes.
NAMESPACE = "k8s.io"

#: Runs a command in the state folder's own view of the machine: `sh -c OWN_VIEW sh HOME COMMAND...`.
OWN_VIEW = """
set -eu
home=$1
shift
for folder in /run/containerd /var/log/containers /var/lib/kubelet; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    mkdir -p "$home/sysctl/${name%/*}"
    cat "/proc/sys/$name" >"$home/sysctl/$name"
    mount --bind "$home/sysctl/$name" "/proc/sys/$name"
done
exec "$@"
"""

CONTAINERD_SETTINGS = """
version = 3
root = '{home}/containerd/root'
state = '{home}/containerd/state'

[grpc]
address = '{home}/containerd.sock'

[ttrpc]
address = '{home}/containerd.sock.ttrpc'

[plugins.'io.containerd.nri.v1.nri']
disable = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{pause}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true # root of a container may lack the right to lower it

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '{home}/cni'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '/usr/sbin/runc'
Root = '{home}/containerd/runc'
SystemdCgroup = false
"""

NETWORK = """
{"cniVersion": "1.0.0", "name": "loopback", "plugins": [{"type": "loopback"}]}
"""

KUBELET_SETTINGS = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: {port}
healthzPort: 0
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
containerRuntimeEndpoint: unix://{home}/containerd.sock
podLogsDir: {home}/pods
volumePluginDir: {home}/plugins
cgroupDriver: cgroupfs
cgroupRoot: /{group}
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
evictionHard: {{memory.available: 1Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
syncFrequency: 5s
resolvConf: ""
"""


class Node(Cluster):
    """A cluster with one real Node, for tests that need their Pods to run."""

    packages = {
        **Cluster.packages,
        "/usr/sbin/runc": "runc",
        "/usr/lib/cni/loopback": "containernetworking-plugins",
        # It goes into an image.
        "/usr/lib/postgresql/15/bin/postgres": "postgresql-15",
        "/usr/share/zoneinfo/UTC": "tzdata",
    }

    def __init__(self):
        super().__init__("node", apiserver_flags=["--kubelet-preferred-address-types=Hostname"])

    def recipes(self):
        return [KUBERNETES, CONTAINERD, IMAGES]

    def start(self, bed, cancelled):
        if os.geteuid() != 0:
            raise StartFailed(self.name, "only root can run containers", bed.log(self.name, "kubelet"))
        return _StartNode(self.name, self.flags, bed, cancelled).run()

    def clean_up(self, bed):
        """Ends the containers, whose processes nobody else knows; with the last one goes what was mounted."""
        home = bed.home(self.name)
        group = group_of(home)
        deadline = time.monotonic() + CLEAN_UP_SECONDS
        while (processes := _processes(group) + _shims(home)) and time.monotonic() < deadline:
            for each in processes:
                process.kill(each)
            time.sleep(0.02)
        for folder in _groups(group):
            while folder.is_dir() and time.monotonic() < deadline:  # a process counts for a moment after its end
                for inner, _, _ in os.walk(folder, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(inner)


class _StartNode(Start):
    """One attempt to start a cluster with its Node."""

    def run(self):
        self._containerd()
        (self.kubelet_port,) = free_ports(1)
        found = super().run()
        return {
            **found,
            # For the environment of Pods on the machine's network, which have no Service to go to.
            "DRCTL_BED_NODE_API_PORT": str(self.port),
            "DRCTL_BED_NODE_IMAGE": POSTGRES,
        }

    def _tokens(self):
        token = self.secrets["node_token"]
        return [*super()._tokens(), f'{token},system:node:{NODE},{NODE},"system:nodes"']

    def _containerd(self):
        """Starts containerd, which gets ready while the control plane starts."""
        programs = CONTAINERD.ensure()
        (self.home / "cni").mkdir()
        (self.home / "cni" / "10-loopback.conflist").write_text(NETWORK)
        settings = self.home / "containerd.toml"
        settings.write_text(CONTAINERD_SETTINGS.format(home=self.home, pause=PAUSE))
        folders = [str(programs), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
        self.path = {"PATH": ":".join(folders)}
        view = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_VIEW, "sh", self.home]
        command = [programs / "containerd", "--config", settings]
        self.runtime = self.bed.start(self.name, "containerd", [*view, *command], environment=self.path)
        self.servers.append(self.runtime)

    def _nodes(self, api):
        self._import_images()
        group = group_of(self.home)
        _make_groups(group)
        authority = (self.certificates / "apiserver.crt").read_bytes()
        access = kubeconfig(self.name, self.port, authority, NODE, self.secrets["node_token"])
        write_atomically(self.home / "kubelet.kubeconfig", access)
        settings = self.home / "kubelet.yaml"
        settings.write_text(KUBELET_SETTINGS.format(home=self.home, port=self.kubelet_port, group=group))
        kubelet = self.bed.start(
            self.name,
            "kubelet",
            [
                "nsenter", f"--mount=/proc/{self.runtime.pid}/ns/mnt", "--",
                self.programs / "kubelet",
                f"--config={settings}",
                f"--kubeconfig={self.home / 'kubelet.kubeconfig'}",
                f"--hostname-override={NODE}",
                f"--root-dir={self.home / 'kubelet'}",
                f"--cert-dir={self.home / 'kubelet-certificates'}",
            ],
            environment=self.path,
            port=self.kubelet_port,
        )
        self.servers.append(kubelet)
        self._wait(kubelet, lambda: node_is_ready(api, NODE))

    def _import_images(self):
        ctr = [CONTAINERD.ensure() / "ctr", "--address", self.home / "containerd.sock", "--namespace", NAMESPACE]
        quiet = {"check": False, "capture_output": True}
        self._wait(self.runtime, lambda: subprocess.run([*ctr, "version"], **quiet).returncode == 0)
        for archive in sorted(IMAGES.ensure().glob("*.tar")):
            done = subprocess.run([*ctr, "images", "import", archive], **quiet)
            if done.returncode != 0:
                raise StartFailed(f"{self.name}/ctr", done.stderr.decode(errors="replace"), self.runtime.log)


def group_of(home):
    """The name of the control group that holds all Pods of a Node."""
    return "drctl-bed-" + hashlib.sha256(str(home).encode()).hexdigest()[:12]


def _hierarchies():
    """Where the kernel's control groups are mounted: several places in version 1, one in version 2."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(each[1]) for each in mounts if each[2] in ("cgroup", "cgroup2")]


def _groups(group):
    return [each / group for each in _hierarchies() if (each / group).is_dir()]


def _make_groups(group):
    """kubelet makes the groups of its Pods, but not the one that it is told to begin with."""
    for hierarchy in _hierarchies():
        folder = hierarchy / group
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # in version 1 these are empty at first, and nothing could run
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((hierarchy / name).read_text())


def _processes(group):
    """Pids of everything that runs in a control group."""
    found = set()
    for folder in _groups(group):
        for file in folder.rglob("cgroup.procs"):
            try:
                found.update(int(word) for word in file.read_text().split())
            except OSError:
                continue  # the group went, or holds threads only
    return [each for each in sorted(found) if process.start_ticks(each) is not None]


def _shims(home):
    """Pids of containerd's shims, one for each Pod, which outlive containerd."""
    address = f"{home}/containerd.sock".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if address in words and b"containerd-shim" in words[0] and process.start_ticks(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found
