"""ISAKMP messages in and out of their encryption (RFC 2409 appendix B, digest ikev1.md section 5).

Everything behind the header is one CBC ciphertext. Whoever calls keeps the IV chain: each call returns the IV of the
next message, and only an accepted message may move the chain on.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.errors import IkeRefused, IsakmpMalformed
from nicsim.host.ike.keys import IkeKeys
from nicsim.reasons import Reason
from nicsim.wire.isakmp import HEADER_LENGTH, Flags, Header, Message, parse_chain

# Some pad by more than a block; what is longer is no padding.
MAX_PADDING = 255


def seal(message: Message, keys: IkeKeys, iv: bytes) -> tuple[bytes, bytes]:
    """The encrypted message, and the IV of the next one.

    A message that has padding of its own must have enough of it; otherwise zeros fill the last block, if it needs any.
    """
    clear = message.build()[HEADER_LENGTH:]
    clear += bytes(-len(clear) % keys.cipher.block)
    ciphertext = keys.cipher.encrypt(keys.cipher_key, iv, clear)
    first = message.payloads[0].type if message.payloads else 0
    header = replace(
        message.header,
        next_payload=first,
        flags=message.header.flags | Flags.ENCRYPTION,
        length=HEADER_LENGTH + len(ciphertext),
    )
    return header.build() + ciphertext, ciphertext[-keys.cipher.block :]


def open_sealed(header: Header, datagram: bytes, keys: IkeKeys, iv: bytes) -> tuple[Message, bytes]:
    """The message in clear, and the IV of the next one. Raises IkeRefused, without a word to whoever sent it.

    The message keeps its header as it came, the flag and the length of the ciphertext included.
    """
    ciphertext = datagram[HEADER_LENGTH:]
    if not ciphertext or len(ciphertext) % keys.cipher.block:
        raise IkeRefused(
            Reason.IKE_UNDECIPHERABLE,
            f"the ciphertext needs whole blocks of {keys.cipher.block} bytes, {len(ciphertext)} came",
        )
    clear = keys.cipher.decrypt(keys.cipher_key, iv, ciphertext)
    try:
        payloads, padding = parse_chain(header.next_payload, clear)
    except IsakmpMalformed as error:
        raise IkeRefused(Reason.IKE_UNDECIPHERABLE, f"decrypted, it is no message: {error}") from None
    if len(padding) > MAX_PADDING or not payloads:
        raise IkeRefused(
            Reason.IKE_UNDECIPHERABLE,
            f"decrypted, it has {len(payloads)} payloads and {len(padding)} bytes behind them",
        )
    return Message(header, payloads, padding), ciphertext[-keys.cipher.block :]
