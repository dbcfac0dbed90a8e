"""The register of everything that the bed knows.

A place is kept here for argocd. See README.md, "Adding a component".
"""

from .azurite import Azurite
from .component import BuildOnly
from .helm import Helm
from .kubernetes import Cluster
from .mongodb import PYMONGO, MongoDb
from .node import Node
from .postgres import POSTGRES_18, Postgres
from .s3 import S3
from .tools import CARGO_DENY, TEST_PROGRAMS

# Since 1.34 a kube-apiserver answers the later pages of a list from its memory. `target` reads them from etcd, as
# older clusters do: there a list that is slower than a compaction ends with 410 Expired, which needs a test.
PAGES_FROM_ETCD = "--feature-gates=ListFromCacheSnapshot=false"

RUNNABLE = {
    each.name: each
    for each in (
        Cluster("source"),
        Cluster("target", apiserver_flags=[PAGES_FROM_ETCD]),
        S3(),
        Azurite(),
        Postgres("postgres", 15, pooled=True),
        Postgres("postgres18", 18, recipe=POSTGRES_18),
        MongoDb(),
        Helm(),
        Node(),
    )
}

#: What `up` and `run` start when they are not told. A real Node is for few tests, needs root and takes a gigabyte.
DEFAULT = [name for name in RUNNABLE if name != "node"]

BUILD_ONLY = {
    each.name: each
    for each in (
        BuildOnly("tools", packages=TEST_PROGRAMS),
        BuildOnly("pymongo", recipes=[PYMONGO]),
        BuildOnly("cargo-deny", recipes=[CARGO_DENY]),
    )
}

ALL = {**RUNNABLE, **BUILD_ONLY}
