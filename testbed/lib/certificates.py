"""A certificate authority of a server's own, and the server's certificate from it."""

#: {command: Debian package}.
PACKAGES = {"openssl": "openssl"}

SETTINGS = """
[req]
distinguished_name = empty
prompt = no
[empty]
CN = drctl test bed
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


def make(folder, names, run):
    """Makes `authority.crt`, `server.crt` and `server.key` in `folder`; the certificate is for `names`.

    `run` runs one tool in that folder.
    """
    alternatives = ",".join(("IP:" if each[0].isdigit() else "DNS:") + each for each in names)
    (folder / "openssl.conf").write_text(SETTINGS.format(names=alternatives))
    new_key = ["req", "-config", "openssl.conf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for words in (
        [*new_key, "-x509", "-extensions", "authority", "-days", "3650",
         "-keyout", "authority.key", "-out", "authority.crt"],
        [*new_key, "-keyout", "server.key", "-out", "server.csr"],
        ["x509", "-req", "-in", "server.csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial",
         "-extfile", "openssl.conf", "-extensions", "server", "-days", "3650", "-out", "server.crt"],
    ):
        run(["openssl", *words])
