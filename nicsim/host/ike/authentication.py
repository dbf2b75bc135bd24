"""How the two sides of phase 1 prove who they are: a shared key, or RSA signatures with certificates.

A signature covers HASH_I or HASH_R itself: PKCS#1 v1.5 padding of the bare hash, without the DigestInfo that names
the algorithm (RFC 2409 section 5.1). A certificate counts if its signatures lead to an authority that is trusted here.
All that touches keys and certificates is in this file; nothing shows a key.
"""

from __future__ import annotations

import hmac
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from nicsim.errors import IkeRefused, InputError
from nicsim.host.ike.identity import Identity
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType
from nicsim.wire.isakmp_payloads import IdentificationType

# Longer than any chain that is built on purpose.
MAX_CHAIN = 8
# What a certificate may certainly not be: a key that takes seconds to use.
MAX_RSA_BITS = 8192

# All that the library raises for what is no certificate.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

_SUBJECT_NAMES: dict[IdentificationType, type[x509.DNSName | x509.RFC822Name]] = {
    IdentificationType.FQDN: x509.DNSName,
    IdentificationType.USER_FQDN: x509.RFC822Name,
}


@dataclass(frozen=True, slots=True, repr=False)
class PreSharedKey:
    """A key that both sides have; at least one byte."""

    key: bytes

    def __post_init__(self) -> None:
        if not self.key:
            raise InputError("a pre-shared key needs at least one byte")

    def __repr__(self) -> str:
        return "PreSharedKey(not shown)"


@dataclass(frozen=True, eq=False)
class RsaCredentials:
    """Our own key and certificate, and the authorities whose certificates we believe."""

    private_key: RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate
    # Certificates between ours and the authority, sent along.
    intermediates: tuple[x509.Certificate, ...]
    authorities: tuple[x509.Certificate, ...]

    @classmethod
    def from_pem(cls, certificate: bytes, private_key: bytes, authorities: bytes) -> RsaCredentials:
        """From the contents of PEM files: our certificate with any intermediate ones behind it, our key, the CAs.

        Raises InputError.
        """
        chain = _certificates("certificate", certificate)
        try:
            key = serialization.load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError):
            raise InputError("the private key is not an unencrypted PEM key") from None
        if not isinstance(key, RSAPrivateKey) or chain[0].public_key() != key.public_key():
            raise InputError("the private key is not the RSA key of the certificate")
        return cls(key, chain[0], tuple(chain[1:]), tuple(_certificates("authority", authorities)))

    @cached_property
    def identity(self) -> Identity:
        """The subject of our certificate."""
        return Identity.of_name(self.certificate.subject.public_bytes())

    @cached_property
    def certificates(self) -> tuple[bytes, ...]:
        """What we send, in DER: ours first."""
        return tuple(_der(one) for one in (self.certificate, *self.intermediates))

    @cached_property
    def authority_names(self) -> tuple[bytes, ...]:
        """The DER names that we ask certificates of."""
        return tuple(authority.subject.public_bytes() for authority in self.authorities)

    def sign(self, hashed: bytes) -> bytes:
        """The signature of a bare hash; as long as our modulus."""
        return self.private_key.sign(hashed, PKCS1v15(), NoDigestInfo())


def _certificates(what: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InputError(f"the {what} file holds no PEM certificate") from None


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def verify_signature(key: RSAPublicKey, signature: bytes, hashed: bytes) -> None:
    """Raises IkeRefused unless `signature` is the key's over the bare hash."""
    wrong = _refused(
        Reason.IKE_AUTHENTICATION, "the signature does not match the hash", NotifyType.AUTHENTICATION_FAILED
    )
    try:
        signed = key.recover_data_from_signature(signature, PKCS1v15(), NoDigestInfo())
    except InvalidSignature:
        raise wrong from None
    if not hmac.compare_digest(signed, hashed):
        raise wrong


def trusted_key(
    certificates: Sequence[bytes],
    identity: Identity,
    authorities: Iterable[x509.Certificate],
    at: datetime | None,
) -> RSAPublicKey:
    """The key of the first certificate that is `identity`'s, if its chain leads to one of the authorities.

    `certificates` are DER as they came; `at` is when they must be valid, None to leave that out. Raises IkeRefused.
    """
    if not certificates:
        raise _refused(Reason.IKE_CERTIFICATE, "no certificate came", NotifyType.CERTIFICATE_UNAVAILABLE)
    if len(certificates) > MAX_CHAIN:
        raise _refused(Reason.IKE_CERTIFICATE, f"{len(certificates)} certificates came, at most {MAX_CHAIN} are read")
    read = [_read(der) for der in certificates]
    own = next((one for one in read if _belongs_to(one, identity)), None)
    if own is None:
        raise _refused(Reason.IKE_IDENTITY, f"no certificate is {identity}'s")
    key = own.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size > MAX_RSA_BITS:
        raise _refused(Reason.IKE_CERTIFICATE, f"the certificate has no RSA key of at most {MAX_RSA_BITS} bits")
    _check_usage(own)
    _check_chain(own, read, tuple(authorities), at)
    return key


def _read(der: bytes) -> x509.Certificate:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's remarks on odd serial numbers and the like
            certificate = x509.load_der_x509_certificate(der)
            # These are read lazily, so what is spoiled in them shows only now.
            certificate.public_key(), certificate.extensions, certificate.subject, certificate.not_valid_after_utc
        return certificate
    except _UNREADABLE as error:
        raise _refused(
            Reason.IKE_CERTIFICATE, f"the certificate cannot be read: {error}", NotifyType.INVALID_CERTIFICATE
        ) from None


def _belongs_to(certificate: x509.Certificate, identity: Identity) -> bool:
    """Whether the certificate's subject or one of its alternative names is the identity."""
    if identity.type is IdentificationType.DER_DN:
        return identity.same_as(Identity.of_name(certificate.subject.public_bytes()))
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    if identity.type in _SUBJECT_NAMES:
        texts = names.get_values_for_type(_SUBJECT_NAMES[identity.type])
        return any(identity.same_as(Identity(identity.type, text.encode())) for text in texts)
    addresses = names.get_values_for_type(x509.IPAddress)
    return any(isinstance(one, IPv4Address | IPv6Address) and one.packed == identity.data for one in addresses)


def _check_usage(certificate: x509.Certificate) -> None:
    """A key usage, where there is one, must allow signatures (RFC 4945 section 5.1.3.2)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.content_commitment):
        raise _refused(Reason.IKE_CERTIFICATE, "the certificate's key may not sign")


def _check_chain(
    own: x509.Certificate, given: list[x509.Certificate], authorities: tuple[x509.Certificate, ...], at: datetime | None
) -> None:
    """Follow issuers until an authority is met; each step uses up one certificate, so it ends."""
    current, unused = own, [one for one in given if one is not own]
    while True:
        _check_time(current, at)
        if current in authorities:
            return
        for authority in authorities:
            if _issued(authority, current):
                _check_time(authority, at)
                return
        issuer = next((one for one in unused if _may_issue(one) and _issued(one, current)), None)
        if issuer is None:
            raise _refused(
                Reason.IKE_CERTIFICATE_AUTHORITY,
                f"no trusted authority issued {Identity.of_name(current.subject.public_bytes())}",
                NotifyType.INVALID_CERT_AUTHORITY,
            )
        unused.remove(issuer)
        current = issuer


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_time(certificate: x509.Certificate, at: datetime | None) -> None:
    if at is not None and not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise _refused(
            Reason.IKE_CERTIFICATE,
            f"a certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}, not on {at:%Y-%m-%d}",
        )


def _refused(reason: Reason, detail: str, notify: NotifyType = NotifyType.INVALID_CERTIFICATE) -> IkeRefused:
    return IkeRefused(reason, detail, notify)
