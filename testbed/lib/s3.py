"""The component `s3`: versitygw on a folder."""

import http.client

from .component import Component
from .golang import GoInstall
from .process import free_ports, wait_until

REGION = "us-east-1"
VERSITYGW = GoInstall(
    "versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0", usual_seconds=100
)


class S3(Component):
    name = "s3"

    def recipes(self):
        return [VERSITYGW]

    def start(self, bed, cancelled):
        home = bed.home(self.name)
        folders = {each: home / each for each in ("buckets", "versions", "users")}
        for folder in folders.values():
            folder.mkdir()
        secrets = bed.secrets()
        (port,) = free_ports(1)
        server = bed.start(
            self.name,
            "versitygw",
            [
                VERSITYGW.ensure() / "versitygw",
                "--port", f"127.0.0.1:{port}",
                "--region", REGION,
                "--iam-dir", folders["users"],
                "--iam-cache-disable",  # a new user's key works at once
                "--quiet",
                "posix",
                "--versioning-dir", folders["versions"],
                folders["buckets"],
            ],
            environment={
                "ROOT_ACCESS_KEY": secrets["s3_access_key"],
                "ROOT_SECRET_KEY": secrets["s3_secret_key"],
            },
            port=port,
        )
        wait_until(lambda: answers(port), server, [server], 30, cancelled)
        return {
            "DRCTL_BED_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "DRCTL_BED_S3_ACCESS_KEY": secrets["s3_access_key"],
            "DRCTL_BED_S3_SECRET_KEY": secrets["s3_secret_key"],
            "DRCTL_BED_S3_REGION": REGION,
        }


def answers(port):
    """True when the gateway answers HTTP; without a key it says 403."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status in (200, 403)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
