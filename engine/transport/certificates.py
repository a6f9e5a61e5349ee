"""The certificates of one cluster.

Law: a cluster's certificate authority is made when it starts and signs one certificate per role;
its own key is forgotten at once, so no further certificate can be made. Import this module only
where certificates are made: what it imports takes longer than all the rest of the transport.
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .credentials import Credentials

VALID_DAYS = 3650
AUTHORITY = "authority"


def make_credentials(cluster_id: str, roles: tuple[str, ...]) -> dict[str, Credentials]:
    """Return credentials for each role, signed by a new certificate authority."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _make_certificate(cluster_id, AUTHORITY, ca_key, ca_key)
    made = {}
    for role in roles:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        cert = _make_certificate(cluster_id, role, key, ca_key)
        made[role] = Credentials(ca=ca, cert=cert, key=pem)
    return made


def _make_certificate(
    cluster_id: str,
    role: str,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
) -> str:
    is_authority = role == AUTHORITY
    now = datetime.datetime.now(datetime.UTC)
    issuer = ca_key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_make_name(cluster_id, role))
        .issuer_name(_make_name(cluster_id, AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of machines differ
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _make_name(cluster_id: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, cluster_id[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"cellspan {role}"),
        ]
    )
