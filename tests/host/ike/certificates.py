"""RSA keys and certificates for the tests, each made once in a session."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nicsim.host.ike.authentication import RsaCredentials

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    """A key for a name; the same name has the same key."""
    return rsa.generate_private_key(65537, 2048)


def name_of(common_name: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(f"CN={common_name},O=nicsim tests,C=SE")


@dataclass(frozen=True)
class Authority:
    name: str
    certificate: x509.Certificate

    def issue(
        self,
        name: str,
        *,
        authority: bool = False,
        start: datetime.datetime = NOW - YEAR,
        end: datetime.datetime = NOW + YEAR,
        signs: bool | None = None,
        names: tuple[x509.GeneralName, ...] = (),
    ) -> x509.Certificate:
        return _make(name, self.name, authority, start, end, signs, names)


def _make(
    name: str,
    issuer: str,
    authority: bool,
    start: datetime.datetime,
    end: datetime.datetime,
    signs: bool | None,
    names: tuple[x509.GeneralName, ...],
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(name_of(issuer))
        .public_key(key(name).public_key())
        .serial_number(abs(hash((name, issuer))) + 1)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if signs is not None:
        flags = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
        )
        usage = x509.KeyUsage(
            digital_signature=signs, key_encipherment=True, encipher_only=False, decipher_only=False, **flags
        )
        builder = builder.add_extension(usage, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key(issuer), hashes.SHA256())


@cache
def authority(name: str = "authority") -> Authority:
    return Authority(name, _make(name, name, True, NOW - YEAR, NOW + 10 * YEAR, None, ()))


@cache
def credentials(name: str, issuer: str = "authority", believes: str = "authority") -> RsaCredentials:
    """Of a party whose certificate one authority issued, and who believes one authority."""
    certificate = authority(issuer).issue(name)
    return RsaCredentials(key(name), certificate, (), (authority(believes).certificate,))


def with_certificate(mine: RsaCredentials, *chain: x509.Certificate) -> RsaCredentials:
    return replace(mine, certificate=chain[0], intermediates=chain[1:])


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(name: str) -> bytes:
    return key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
