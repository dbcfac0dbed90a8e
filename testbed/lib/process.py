"""Server processes: start, find again, stop.

A server outlives the command that started it, so the state folder keeps a
record of each: its pid and the kernel's start time of that pid. Both have to
match before a signal is sent; a pid alone may by now be a stranger's.

A second net catches what the records miss (a starter killed between the fork
and the record, a state folder deleted by hand): each server carries a mark in
its environment that names its state folder, and `stray` finds the marks.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "DRCTL_BED_OWNER"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
TAIL_LINES = 20
STOP_GRACE_SECONDS = 1.0  # kube-apiserver would take a minute; nothing of a bed is kept


class StartFailed(Exception):
    """A server did not come up. `log` is the file that tells why."""

    def __init__(self, server, reason, log):
        super().__init__(f"{server}: {reason}")
        self.server = server
        self.log = Path(log)

    def report(self):
        """The reason and the end of the log, for people."""
        lines = tail(self.log)
        head = f"{self}\nThe last {len(lines)} lines of {self.log}:"
        return "\n".join([head, *("  | " + line for line in lines)])

    def port_was_taken(self):
        """True when another process took the port between choice and use."""
        text = "\n".join(tail(self.log, 200)).lower()
        return "address already in use" in text


@dataclass
class Server:
    """The record of one running server."""

    component: str
    name: str
    pid: int
    start_ticks: int
    port: int
    log: str
    stop_signal: str = "SIGTERM"

    def alive(self):
        return start_ticks(self.pid) == self.start_ticks

    def uptime_seconds(self):
        boot_to_now = float(Path("/proc/uptime").read_text().split()[0])
        return boot_to_now - self.start_ticks / TICKS_PER_SECOND

    def resident_mib(self):
        try:
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) // 1024
        except OSError:
            pass
        return 0


def start(folder, component, name, argv, log, environment=None, port=0, stop_signal="SIGTERM"):
    """Starts a server in a session of its own and records it in `folder`.

    `folder` is the state folder of the bed; the record goes to `run/` in it. `stop_signal` asks the server to end:
    for some, SIGTERM means "once all clients are gone".
    """
    run = Path(folder) / "run"
    run.mkdir(parents=True, exist_ok=True)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, **(environment or {}), MARK: str(folder)}
    with open(log, "ab") as output:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables,
            cwd=folder,
            start_new_session=True,
        )
    ticks = start_ticks(child.pid)
    server = Server(component, name, child.pid, ticks or 0, port, str(log), stop_signal)
    record = run / f"{component}.{name}.json"
    write_atomically(record, json.dumps(asdict(server)) + "\n")
    return server


def recorded(folder):
    """All records of a state folder, in the order of their start."""
    servers = []
    for record in sorted((Path(folder) / "run").glob("*.json")):
        try:
            servers.append(Server(**json.loads(record.read_text())))
        except (OSError, ValueError, TypeError):
            continue  # a torn record: `stray` finds its process
    return sorted(servers, key=lambda server: server.start_ticks)


def forget(folder, server):
    record = Path(folder) / "run" / f"{server.component}.{server.name}.json"
    record.unlink(missing_ok=True)


def stop(servers):
    """Ends servers and everything in their process groups.

    They are asked first, all at once, and killed after a grace period.
    Returns the pids that could not be ended; it should be empty.
    """
    living = [server for server in servers if server.alive()]
    for force, patience in ((False, STOP_GRACE_SECONDS), (True, 5.0)):
        for server in living:
            _signal_group(server.pid, signal.SIGKILL if force else signal.Signals[server.stop_signal])
        deadline = time.monotonic() + patience
        while living and time.monotonic() < deadline:
            time.sleep(0.02)
            living = [server for server in living if server.alive()]
    return [server.pid for server in living]


def stop_stray(folder):
    """Kills every process that bears the mark of `folder`. Returns their pids."""
    found = stray(folder)
    deadline = time.monotonic() + 5.0
    pending = found
    while pending and time.monotonic() < deadline:
        for pid in pending:
            kill(pid)
        time.sleep(0.02)
        pending = stray(folder)
    return found


def stray(folder):
    """Processes that bear the mark of `folder`."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in variables and start_ticks(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


def start_ticks(pid):
    """The kernel's start time of a pid; None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold spaces
    return None if fields[0] in "ZX" else int(fields[19])


def wait_until(ready, server, watched, seconds, cancelled):
    """Polls `ready` until it is true.

    `server` is what we wait for; `watched` are all servers that have to stay
    alive meanwhile. Raises StartFailed when one ends or the time is up. A port
    that another process took may answer as if ready, so `server` itself has to
    be listening on it.
    """
    deadline = time.monotonic() + seconds
    while True:
        for each in watched:
            if not each.alive():
                raise StartFailed(f"{each.component}/{each.name}", "it ended while starting", each.log)
        if _holds_its_port(server) and ready():
            return
        if cancelled():
            raise StartFailed(f"{server.component}/{server.name}", "the start was cancelled", server.log)
        if time.monotonic() > deadline:
            raise StartFailed(
                f"{server.component}/{server.name}", f"not ready after {seconds:.0f} s", server.log
            )
        time.sleep(0.05)


def _holds_its_port(server):
    if not server.port:
        return True
    local = f"0100007F:{server.port:04X}"  # 127.0.0.1, as the kernel writes it
    listening = "0A"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    sockets = {f"socket:[{each[9]}]" for each in lines if each[1] == local and each[3] == listening}
    try:
        opened = [os.readlink(each) for each in Path(f"/proc/{server.pid}/fd").iterdir()]
    except OSError:
        return False  # a file was closed while we looked, or the server ended: look again
    return any(each in sockets for each in opened)


def free_ports(count):
    """Free loopback ports, chosen by the kernel.

    They are held together while they are chosen, so they differ. Between this
    and the server's own bind somebody else may take one: see
    `StartFailed.port_was_taken`.
    """
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def mounts_below(folder):
    """Mount points in a folder, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in lines]
    return [each for each in reversed(points) if Path(each).is_relative_to(folder)]


def tail(log, count=TAIL_LINES):
    try:
        return Path(log).read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def write_atomically(path, text, mode=0o600):
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.rename(path)


def _signal_group(pid, kind):
    try:
        os.killpg(pid, kind)
    except (ProcessLookupError, PermissionError):
        pass


def kill(pid):
    """Kills a process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
