"""How TLS is set up from a cluster's credentials.

Law: both sides show a certificate and demand one of the same certificate authority; TLS 1.3 only.
Who holds a
certificate of the cluster is in: the names in it are not host names, because a cluster may have
many addresses.
"""

from __future__ import annotations

import os
import ssl
import tempfile

from .credentials import Credentials


def make_context(credentials: Credentials, is_server: bool) -> ssl.SSLContext:
    """Return a context that shows our certificate and demands one of the same authority.

    Raises:
        ssl.SSLError, ValueError: the credentials are not PEM texts that belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.ca)
    # The standard library reads a key from a file only: one of ours, for this moment.
    handle, path = tempfile.mkstemp(prefix="cellspan-")  # made with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(credentials.key + "\n" + credentials.cert)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
    return context
