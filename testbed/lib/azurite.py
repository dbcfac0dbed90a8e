"""The component `azurite`: Microsoft's own emulator of Azure Blob storage, twice on folders of its own.

Once over http, for keys and shared access signatures; once over https with a private authority and with Entra's tokens
(`--oauth basic`, which looks at a token's times, issuer and audience, and not at its signature).
"""

import base64
import hmac
import http.client
import os
import ssl
import subprocess
import urllib.parse
from pathlib import Path

from . import certificates, npm
from .component import Component
from .npm import FromNpm
from .process import StartFailed, free_ports, wait_until

SOURCE = Path(__file__).resolve().parent.parent / "azurite"
AZURITE = FromNpm("azurite", SOURCE, usual_seconds=60)
ACCOUNT = "drctlbed"
NAMES = ["127.0.0.1", "localhost"]
START_SECONDS = 60


class Azurite(Component):
    name = "azurite"
    packages = {**npm.PACKAGES, **certificates.PACKAGES}

    def recipes(self):
        return [AZURITE]

    def start(self, bed, cancelled):
        home = bed.home(self.name)
        key = bed.secrets()["azure_account_key"]
        certificates.make(home, NAMES, lambda words: self._tool(bed, home, words))
        port, entra_port = free_ports(2)
        tls = ["--oauth", "basic", "--cert", home / "server.crt", "--key", home / "server.key"]
        servers = [
            (self._server(bed, home, "blob", port, key, []), lambda: answers(port, None)),
            (
                self._server(bed, home, "entra", entra_port, key, tls),
                lambda: answers(entra_port, home / "authority.crt"),
            ),
        ]
        for server, ready in servers:
            wait_until(ready, server, [each for each, _ in servers], START_SECONDS, cancelled)
        return {
            "DRCTL_BED_AZURITE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
            "DRCTL_BED_AZURITE_HTTPS_ENDPOINT": f"https://127.0.0.1:{entra_port}/{ACCOUNT}",
            "DRCTL_BED_AZURITE_CA": str(home / "authority.crt"),
            "DRCTL_BED_AZURITE_ACCOUNT": ACCOUNT,
            "DRCTL_BED_AZURITE_KEY": key,
            "DRCTL_BED_AZURITE_SAS": account_sas(key),
        }

    def _server(self, bed, home, name, port, key, more):
        folder = home / name
        folder.mkdir()
        return bed.start(
            self.name,
            name,
            [
                "node", AZURITE.ensure() / "node_modules/azurite/dist/src/blob/main.js",
                "--blobHost", "127.0.0.1",
                "--blobPort", str(port),
                "--location", folder,
                "--skipApiVersionCheck",  # it is older than the version of the protocol that the SDK speaks
                "--disableTelemetry",
                "--silent",
                *more,
            ],
            environment={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
            port=port,
        )

    def _tool(self, bed, home, words):
        log = bed.log(self.name, "setup")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            code = subprocess.run(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, cwd=home, env=dict(os.environ),
            ).returncode
        if code != 0:
            raise StartFailed(f"{self.name}/{words[0]}", f"it ended with {code}", log)


def account_sas(key):
    """A shared access signature that may do everything in the account."""
    parameters = {
        "sp": "rwdlac", "ss": "b", "srt": "sco", "st": "", "se": "2099-01-01T00:00:00Z", "sip": "", "spr": "",
        "sv": "2018-11-09",
    }
    text = "".join(f"{each}\n" for each in [ACCOUNT, *parameters.values()])
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()
    return urllib.parse.urlencode({name: value for name, value in {**parameters, "sig": signature}.items() if value})


def answers(port, authority):
    """True when the server answers HTTP; without a key it refuses."""
    if authority:
        context = ssl.create_default_context(cafile=authority)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", f"/{ACCOUNT}?comp=list")
        return connection.getresponse().status in (400, 401, 403)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
