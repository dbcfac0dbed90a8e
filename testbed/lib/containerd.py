"""containerd, the program that runs the containers of the component `node`."""

from .cache import Recipe
from .golang import ENVIRONMENT, FLAGS, STRIP, need_go


class Containerd(Recipe):
    """containerd, its shim and ctr, without the snapshotters that need a file system of their own."""

    name = "containerd"
    usual_seconds = 120
    module = "github.com/containerd/containerd/v2"
    version = "v2.4.2"
    programs = ["containerd", "containerd-shim-runc-v2", "ctr"]
    tags = "no_btrfs no_zfs no_devmapper"

    def inputs(self):
        return [self.module, self.version, *self.programs, self.tags, *FLAGS, STRIP]

    def build(self, folder, log):
        need_go()
        self.run(
            ["go", "install", "-v", *FLAGS, "-tags", self.tags, "-ldflags", STRIP,
             *(f"{self.module}/cmd/{program}@{self.version}" for program in self.programs)],
            log,
            GOBIN=str(folder),
            **ENVIRONMENT,
        )


CONTAINERD = Containerd()
