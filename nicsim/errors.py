"""Everything nicsim raises on purpose.

    NicsimError
      Malformed            bytes from the wire that are not what their own lengths and fields say
        NotIp              a frame that carries no IP packet at all (ARP, LLDP, ...)
        IsakmpMalformed    an ISAKMP message, with the number of the notification that says how
      EspError             an ESP packet that cannot be opened, or an AH packet that cannot be checked
        EspSyntaxError     its length cannot be right (CRYPTO_INVALID_PACKET_SYNTAX, N-RX-15)
        IntegrityError     its ICV is wrong
        TrailerError       its ICV is good, but its padding or trailer is not
      SealError            a caller asked to seal what no ESP packet can hold
      RequestRefused       an OID request that the driver turns down, with its status and its reason
      OffloadProtocolError a miniport answered a request in a way that NDIS does not allow
      IkeRefused           an IKE message or exchange that a peer turns down, with its reason and a notification or none
      RuleBroken           the rule monitor saw a driver or its card break a rule of the digest
      InputError           something a person gave us: a file, an option, an address
        CaptureError       a capture file that cannot be read at all

Errors of the C layouts (`StructureError`, `TooShort`) belong to `offload_oids`, which stands alone. A message
says what was needed and what came, and never holds a key. Anything outside this tree is a bug.
"""

from nicsim.reasons import Reason
from offload_oids import NdisStatus


class NicsimError(Exception):
    """The root: catch it at the outermost edge only."""


class Malformed(NicsimError):
    """Bytes from the wire that contradict themselves."""


class NotIp(Malformed):
    """A frame that carries no IP packet."""


class IsakmpMalformed(Malformed):
    """An ISAKMP message that contradicts itself; `notify` is the type of notification that says how (RFC 2408 5)."""

    def __init__(self, notify: int, detail: str) -> None:
        super().__init__(detail)
        self.notify = notify


class EspError(NicsimError):
    """An ESP packet that cannot be opened, or an AH packet that cannot be checked."""


class EspSyntaxError(EspError):
    """An ESP or AH packet whose length cannot be right."""


class IntegrityError(EspError):
    """An ESP or AH packet whose integrity check value is wrong."""


class TrailerError(EspError):
    """An authentic ESP packet whose padding or trailer is wrong (RFC 4303 section 2.4)."""


class SealError(NicsimError, ValueError):
    """A caller asked to seal what no ESP packet can hold: a wrong IV length, a plaintext that is not whole blocks."""


class RequestRefused(NicsimError):
    """An OID request that the driver turns down; control.py makes it the status that NDIS sees."""

    def __init__(self, status: NdisStatus, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class OffloadProtocolError(NicsimError):
    """A miniport answered a request in a way that NDIS does not allow."""


class IkeRefused(NicsimError):
    """An IKE message or exchange that a peer turns down; `notify` is what the other may be told, if anything."""

    def __init__(self, reason: Reason, detail: str, notify: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.notify = notify


class RuleBroken(NicsimError):
    """The rule monitor saw a driver or its card break a rule: the check that saw it, the rule, and a sentence."""

    def __init__(self, check: str, rule: str, sentence: str) -> None:
        super().__init__(f"{check} ({rule}): {sentence}")
        self.check = check
        self.rule = rule
        self.sentence = sentence


class InputError(NicsimError):
    """Something a person gave us cannot be used; the message is one clear sentence."""


class CaptureError(InputError):
    """A capture file that cannot be read at all."""
