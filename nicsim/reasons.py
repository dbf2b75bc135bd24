"""Why: one closed list of reasons for every verdict and refusal, each with its rule and a sentence.

A reason has a number (it travels in the card's descriptors), a label (what reports and JSON show), the rule of
the specification digest behind it (`docs/spec/ndis-ipsec-offload.md`) or the section of an RFC, and a sentence that
says what the rule means for this case. Nothing is ever refused, left alone or sent without one of these.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Why the card, the driver or the host did what it did."""

    number: int
    label: str
    rule: str | None
    sentence: str

    def __init__(self, number: int, label: str, rule: str | None, sentence: str) -> None:
        self.number = number
        self.label = label
        self.rule = rule
        self.sentence = sentence

    # fmt: off
    # --- the card's receive path: processed -------------------------------------------------------------------
    OPENED = (1, "opened", "N-RX-6",
        "The card checked the ICV and decrypted the payload in place.")
    ICV_WRONG = (2, "icv-wrong", "N-RX-14",
        "The ICV does not match; the packet is handed up as it came, with the status that says which layer failed.")
    SYNTAX_INVALID = (3, "syntax-invalid", "N-RX-15",
        "The packet is too short for the ESP fields of its association, or its ciphertext is no multiple of the block.")
    CHECKED = (4, "checked", "N-RX-6",
        "The card checked the ICV of AH; nothing was encrypted.")
    PROTOCOL_INVALID = (5, "protocol-invalid", "N-RX-15",
        "The packet has other IPsec headers than its association: one of AH and ESP is missing, or is another's.")
    ROW_MISSING = (6, "row-missing", "N-RX-15",
        "The card no longer has the row of the association's second layer; that is no fault of the packet.")
    # --- the card's receive path: left untouched ---------------------------------------------------------------
    NOT_IP = (10, "not-ip", "N-RX-13",
        "The frame carries no IP packet, so there is nothing for IPsec to do.")
    MALFORMED = (11, "malformed", "N-RX-13",
        "The headers contradict their own lengths; the card leaves such a frame to the host.")
    NOT_ENABLED = (12, "not-enabled", "N-CP6-6",
        "The host has not enabled IPsec offload, and receive processing must not start before that.")
    ENCAPSULATION_NOT_ENABLED = (13, "encapsulation-not-enabled", "N-CP6-6",
        "IPsec offload is enabled, but not for the link encapsulation that this frame has.")
    FRAGMENT = (14, "fragment", "N-RX-9",
        "The packet arrived in IP fragments; packets that need reassembly are not offloaded.")
    IP_OPTIONS = (15, "ip-options", "N-RX-10",
        "The IP header has options or extension headers, which were not both claimed and enabled.")
    NOT_IPSEC = (16, "not-ipsec", "N-RX-13",
        "The packet is neither ESP, AH nor UDP.")
    NO_PARSER_ENTRY = (17, "no-parser-entry", "N-RX-5",
        "No parser entry names the UDP destination port, so the card does not look behind the UDP header.")
    IKE = (18, "ike", "N-RX-1",
        "The datagram is IKE, which is handed up without IPsec processing.")
    KEEPALIVE = (19, "keepalive", "N-RX-5",
        "The datagram is a NAT keepalive, a single byte FF.")
    RUNT = (20, "runt", "N-RX-5",
        "The UDP payload is too short to hold an SPI and a sequence number.")
    SA_NOT_OFFLOADED = (21, "sa-not-offloaded", "N-RX-2",
        "No inbound association with this SPI and protocol is offloaded.")
    FILTER_MISMATCH = (22, "filter-mismatch", "N-SA-2",
        "An association with this SPI is offloaded, but for other addresses or ports.")
    ENCAPSULATION_MISMATCH = (23, "encapsulation-mismatch", "N-RX-2",
        "An association with this SPI is offloaded, but for packets that are encapsulated in another way.")
    COMBINATION_NOT_ENABLED = (24, "combination-not-enabled", "A-4",
        "The packet has a tunnel and a transport portion, and this combination was not both claimed and enabled.")
    INNER_NOT_OFFLOADED = (25, "inner-not-offloaded", "A-4",
        "The packet's tunnel association is offloaded, its transport one is not, and the card does both or neither.")
    # --- the card's send path ----------------------------------------------------------------------------------
    SEALED = (30, "sealed", "N-TX-3",
        "The card filled in the IV, encrypted the payload and wrote the ICV.")
    NO_SEND_WORK = (31, "no-send-work", "N-TX-10",
        "The offload handle is zero: the frame goes out as the host built it.")
    UNKNOWN_SEND_HANDLE = (32, "unknown-send-handle", "N-TX-10",
        "The offload handle names no outbound association.")
    BAD_SEND_FRAME = (33, "bad-send-frame", "N-TX-4",
        "The frame is not framed and padded as its association demands.")
    SEND_FRAGMENT = (34, "send-fragment", "N-TX-7",
        "Packets that go out in IP fragments are not offloaded.")
    LARGE_SEND_NOT_ENABLED = (35, "large-send-not-enabled", "N-V2-5",
        "The packet asks for a large send that the card does not claim, not for such packets, or that is not enabled.")
    LARGE_SEND_IN_TUNNEL = (36, "large-send-in-tunnel", "N-V2-5",
        "Large sends are not for tunnel packets.")
    LARGE_SEND_WITH_VERSION_1 = (37, "large-send-with-version-1", "N-CAP-18",
        "An adapter does version 1 of the offload or large sends, never both.")
    BAD_LARGE_SEND = (38, "bad-large-send", "N-V2-15",
        "The packet is not framed as a large send, or not as its out-of-band words say.")
    SEQUENCE_WOULD_CYCLE = (39, "sequence-would-cycle", "N-V2-15",
        "The sequence number would begin again from zero before the last segment of the large send.")
    CHECKSUM_NOT_ENABLED = (100, "checksum-not-enabled", "N-V2-5",
        "The packet asks for a checksum that the card does not claim, or not for such packets, or that is not enabled.")
    BAD_CHECKSUM_TASK = (101, "bad-checksum-task", "N-TX-4",
        "The packet asks for a checksum, and does not have the header that it goes into.")
    TASKS_DONE = (102, "tasks-done", "N-TX-10",
        "The card filled in checksums or cut a large packet into segments; there was no IPsec work.")
    NOT_CONFIGURED = (103, "not-configured", "N-V2-16",
        "The hardware is not configured for version 2 of the offload, so the frame goes out as the host built it.")
    # --- OID requests: what is wrong with the buffer -------------------------------------------------------------
    BUFFER_LENGTH = (40, "buffer-length", "A-1",
        "The buffer is shorter than its structure and the lengths inside it demand.")
    BUFFER_CONTENTS = (41, "buffer-contents", "N-OID-3",
        "A member of the buffer is out of range.")
    NUMBER_OF_SAS = (42, "number-of-sas", "A-17",
        "NumSAs must be 1 or 2; with 2 the elements are ESP, then AH.")
    DIRECTION_FLAGS = (43, "direction-flags", "N-SA-7",
        "Flags must be OFFLOAD_INBOUND_SA or OFFLOAD_OUTBOUND_SA, exactly one of them.")
    KEY_LENGTH = (44, "key-length", "A-19",
        "A key length does not fit its algorithm, or the lengths do not add up to KeyLen.")
    NOT_AUTHENTICATED = (45, "not-authenticated", "N-SA-13",
        "An association must be authenticated by ESP or by AH.")
    SPI_ZERO = (46, "spi-zero", "N-NAT-4",
        "SPI zero never appears on the wire.")
    HEADER_WRONG = (47, "header-wrong", "N-V2-6",
        "The structure's header must say type 0x80, revision 1 and a size that holds the structure.")
    POINTER_WRONG = (48, "pointer-wrong", "A-38",
        "An embedded pointer must be NULL or point, aligned, inside the request's buffer, and visit no place twice.")
    TASK_HEADER_WRONG = (49, "task-header-wrong", "A-12",
        "The task header must say version 1 and size 28, and its offsets must stay inside the buffer.")
    # --- OID requests: what the card does not claim ---------------------------------------------------------------
    ALGORITHM_NOT_CLAIMED = (50, "algorithm-not-claimed", "N-CAP-9",
        "The card does not claim this algorithm.")
    MODE_NOT_CLAIMED = (51, "mode-not-claimed", "N-CAP-9",
        "The card does not claim this mode or direction.")
    SUBTYPE_NOT_CLAIMED = (52, "subtype-not-claimed", "N-CAP-10",
        "The card does not claim to parse this UDP-ESP encapsulation.")
    AH_NOT_CLAIMED = (53, "ah-not-claimed", "N-CAP-9",
        "The card does not claim AH, alone or beside ESP.")
    IPV6_NOT_CLAIMED = (54, "ipv6-not-claimed", "N-CAP-15",
        "The card offloads IPv4 only.")
    ESN_NOT_CLAIMED = (55, "esn-not-claimed", "N-V2-1",
        "The card does not claim extended sequence numbers.")
    NOT_OFFERED = (56, "not-offered", "N-OID-1",
        "The driver does not offer this OID.")
    ENCAPSULATION_NOT_CLAIMED = (57, "encapsulation-not-claimed", "N-CP6-5",
        "No offload of this card supports the requested link encapsulation.")
    TASK_NOT_CLAIMED = (58, "task-not-claimed", "N-CAP-9",
        "The enabling set asks for a task or a feature that the query did not report.")
    ESP_NOT_CLAIMED = (59, "esp-not-claimed", "N-V2-1",
        "The card does not claim ESP.")
    # --- OID requests: state ---------------------------------------------------------------------------------------
    SA_TABLE_FULL = (60, "sa-table-full", "N-SA-23",
        "The card's table of associations is full.")
    PARSER_TABLE_FULL = (61, "parser-table-full", "A-1",
        "The card's table of parser entries is full.")
    ROW_WRITE_FAILED = (62, "row-write-failed", "N-ADD-6",
        "The card could not program a row, so neither the association nor the parser entry was added.")
    UNKNOWN_SA_HANDLE = (63, "unknown-sa-handle", "A-7",
        "The offload handle names no association of this driver.")
    ENTRY_DIFFERS = (78, "entry-differs", "A-5",
        "The parser entry that the handle names has another type or port than EncapTypeEntry.")
    UNKNOWN_PARSER_HANDLE = (64, "unknown-parser-handle", "A-5",
        "The parser entry handle names no entry of this driver.")
    PORT_HAS_OTHER_TYPE = (65, "port-has-other-type", "A-33",
        "A parser entry of another type already names this port, and a port can be parsed in one way only.")
    ADDRESS_NOT_WHOLE = (77, "address-not-whole", "N-SA-3",
        "The card compares whole destination addresses, so it cannot take an association for any other.")
    PORT_NOT_CLAIMED = (66, "port-not-claimed", "A-5",
        "Only type OTHER on port 4500 is claimed.")
    ALREADY_ENABLED = (67, "already-enabled", "A-13",
        "Task offload is enabled already; a disabling set must come first.")
    ROW_CLEAR_FAILED = (68, "row-clear-failed", "N-DEL-4",
        "The card could not clear a row; it is marked for deletion and tried again.")
    ADDRESS_TABLE_FULL = (69, "address-table-full", "A-1",
        "Associations of this card share a table of receive addresses, and it is full of other ones.")
    # --- the host: why an association stays in software -------------------------------------------------------------
    NO_SUITABLE_VERSION = (70, "no-suitable-version", "N-V2-3",
        "Neither version 1 nor version 2 of the offload, as this card claims them, can express the association.")
    PORT_NOT_PARSED_BY_V2 = (71, "port-not-parsed-by-v2", "A-34",
        "Version 2 parses UDP-ESP on port 4500 with the four-byte marker only.")
    OFFLOAD_NOT_ENABLED = (72, "offload-not-enabled", "N-CP6-6",
        "Offload could not be enabled, so the host does not use it.")
    CAPACITY_REACHED = (73, "capacity-reached", "N-V2-4",
        "The host has offloaded as many associations as the card says it holds.")
    NO_SUCH_SA = (74, "no-such-sa", "N-RX-2",
        "The host knows no association for this packet.")
    SPI_NOT_UNIQUE = (75, "spi-not-unique", "N-SA-20",
        "Another inbound association with this SPI and destination is offloaded; a NIC could not tell them apart.")
    DELETE_REQUESTED = (76, "delete-requested", "N-SA-22",
        "The driver asked for room on a received packet, and the host took this association and its partner back.")
    ROUTE_MOVED = (79, "route-moved", "N-RST-7",
        "The route has moved to another NIC, and the association has not been added there yet.")
    # --- a replayed frame that the card has no part in ---------------------------------------------------------------
    NOT_THIS_HOST = (80, "not-this-host", None,
        "The frame neither comes from nor goes to the host whose NIC this is.")
    SENT_PLAIN = (81, "sent-plain", "N-TX-10",
        "The frame leaves without IPsec work for the NIC.")
    RESEAL_DIFFERS = (82, "reseal-differs", "N-TX-9",
        "The card sealed the packet again, and the bytes differ from the captured ones.")
    SENT_ICV_WRONG = (83, "sent-icv-wrong", "N-TX-3",
        "The captured packet does not open with its association's keys, so there is nothing to seal again.")
    SENT_MALFORMED = (84, "sent-malformed", "N-TX-4",
        "The captured packet is too short for its association, so there is nothing to seal again.")
    NOT_CAPTURED_WHOLE = (85, "not-captured-whole", None,
        "The capture holds only the beginning of this frame.")
    # --- settings, power and reset -----------------------------------------------------------------------------------
    PARAMETER_NOT_CLAIMED = (90, "parameter-not-claimed", "N-CP6-7",
        "The offload parameters enable an offload that the card does not claim.")
    FILTER_NOT_SUPPORTED = (91, "filter-not-supported", "N-OID-3",
        "The packet filter asks for a kind of frame that Ethernet does not have.")
    MULTICAST_LIST_FULL = (92, "multicast-list-full", "N-OID-3",
        "The list names more multicast groups than the NIC can listen to.")
    LOW_POWER = (93, "low-power", "N-RST-5",
        "The NIC is in a low-power state; nothing but the way back to full power is accepted.")
    RESETTING = (94, "resetting", "N-RST-4",
        "The NIC is resetting; the host submits again what it wants once the reset has ended.")
    ABORTED_BY_RESET = (95, "aborted-by-reset", "N-RST-3",
        "The NIC was reset, or removed, before the request was done.")
    ADAPTER_REMOVED = (96, "adapter-removed", "N-RST-6",
        "The NIC was removed, and all its associations are gone.")
    NOT_RESTORED = (97, "not-restored", "N-RST-1",
        "The card did not take every row back; packets of the missing associations go up unprocessed.")
    # --- IKE: a message is refused ----------------------------------------------------------------------------------
    IKE_MALFORMED = (110, "ike-malformed", "RFC 2408 5.3",
        "The ISAKMP message contradicts itself: a length, a reserved byte, or a payload that may not stand there.")
    IKE_VERSION = (111, "ike-version", "RFC 2408 5.2",
        "The ISAKMP version is not 1.0.")
    IKE_COOKIE = (112, "ike-cookie", "RFC 2408 5.2",
        "No ISAKMP SA has this pair of cookies, or a first message has a responder cookie already.")
    IKE_EXCHANGE_TYPE = (113, "ike-exchange-type", "RFC 2408 5.2",
        "The exchange type is unknown, or not allowed here.")
    IKE_FLAGS = (114, "ike-flags", "RFC 2408 5.2",
        "A flag without meaning is set, or the message is encrypted where it must not be, or the other way round.")
    IKE_MESSAGE_ID = (115, "ike-message-id", "RFC 2408 5.2",
        "The message id must be zero in phase 1 and not zero, and unused, in phase 2.")
    IKE_UNEXPECTED = (116, "ike-unexpected", "RFC 2409 5",
        "The message has not the payloads that this step of its exchange needs.")
    IKE_UNDECIPHERABLE = (117, "ike-undecipherable", "RFC 2409 5.3",
        "The decrypted message is no chain of payloads: another key, or spoiled bytes.")
    IKE_REPLAYED = (118, "ike-replayed", "RFC 2408 5.1",
        "The message belongs to an exchange that is over.")
    IKE_FRAGMENT = (119, "ike-fragment", "RFC 2408 5.3",
        "A fragment of an IKE message contradicts itself or the ones before it, or there are too many.")
    IKE_HALF_OPEN_LIMIT = (120, "ike-half-open-limit", "RFC 2408 2.5.3",
        "As many peers as allowed have begun and not yet proved who they are; the message is not answered.")
    # --- IKE: an exchange fails -------------------------------------------------------------------------------------
    IKE_DOI = (121, "ike-doi", "RFC 2407 4.2",
        "The domain of interpretation must be IPsec, and the situation identity only.")
    IKE_PROPOSAL_SYNTAX = (122, "ike-proposal-syntax", "RFC 2408 5.5",
        "An SA payload, or a proposal or transform in it, contradicts itself.")
    IKE_NO_PROPOSAL = (123, "ike-no-proposal", "RFC 2408 5.4",
        "None of the offered proposals is acceptable.")
    IKE_PROPOSAL_CHANGED = (124, "ike-proposal-changed", "RFC 2409 5",
        "The answer is not one of the offered proposals, unchanged.")
    IKE_ATTRIBUTE = (125, "ike-attribute", "RFC 2407 4.5",
        "An attribute of a transform is unknown, contradicts another, or has an impossible value.")
    IKE_KEY_EXCHANGE = (126, "ike-key-exchange", "RFC 2408 5.7",
        "The public value has the wrong length or is one that gives the secret away.")
    IKE_NONCE = (127, "ike-nonce", "RFC 2409 5",
        "A nonce must have 8 to 256 bytes.")
    IKE_IDENTITY = (128, "ike-identity", "RFC 2408 5.8",
        "The identity is of an unsupported kind, or not the expected one, or the credentials are another's.")
    IKE_CERTIFICATE = (129, "ike-certificate", "RFC 2408 5.9",
        "The certificate cannot be read, is missing, is out of its time, or cannot sign.")
    IKE_CERTIFICATE_AUTHORITY = (130, "ike-certificate-authority", "RFC 2408 5.9",
        "No chain leads from the certificate to an authority that is trusted here.")
    IKE_AUTHENTICATION = (131, "ike-authentication", "RFC 2408 5.11",
        "The hash or the signature that proves a message does not match.")
    IKE_SELECTORS = (132, "ike-selectors", "RFC 2409 5.5",
        "The policy has no such traffic selectors for this peer.")
    IKE_NO_NAT_TRAVERSAL = (133, "ike-no-nat-traversal", "RFC 3947 3.1",
        "NAT traversal is demanded, and the peer has no version of it in common.")
    IKE_TIMED_OUT = (134, "ike-timed-out", "RFC 2408 5.1",
        "The peer did not answer, however often the message was repeated.")
    IKE_NOTIFIED = (135, "ike-notified", "RFC 2408 5.14",
        "The peer refused with a notification.")
    # --- IKE: an association ends -----------------------------------------------------------------------------------
    IKE_DELETED = (140, "ike-deleted", "RFC 2408 5.15",
        "One side deleted it and told the other.")
    IKE_REPLACED = (141, "ike-replaced", "RFC 2409 5.5",
        "A newer one took over, and the time for stragglers is past.")
    IKE_EXPIRED = (142, "ike-expired", "RFC 2407 4.5",
        "Its lifetime is over.")
    IKE_PEER_DEAD = (143, "ike-peer-dead", "RFC 3706 5.5",
        "The peer does not answer when asked whether it is there.")
    IKE_INITIAL_CONTACT = (144, "ike-initial-contact", "RFC 2407 4.6.3.3",
        "The peer said that it remembers nothing from before.")
    IKE_NOT_CONFIRMED = (145, "ike-not-confirmed", "RFC 2409 5.5",
        "The exchange that made it was never completed.")
    # --- the host: what becomes of a packet ---------------------------------------------------------------------------
    POLICY_DISCARDS = (160, "policy-discards", "RFC 4301 4.4.1",
        "The policy for this packet says that it goes nowhere.")
    NOT_PROTECTED = (161, "not-protected", "RFC 4301 5.2",
        "The packet came in the clear, or otherwise than the policy wants it protected.")
    SELECTORS_DIFFER = (162, "selectors-differ", "RFC 4301 5.2",
        "What came out of the association is none of the packets that it was negotiated for.")
    NO_ASSOCIATION = (163, "no-association", "RFC 4301 4.4.1",
        "The policy wants protection, and there is no association and nobody to negotiate one with.")
    TOO_MANY_WAITING = (164, "too-many-waiting", None,
        "As many packets as the host keeps wait for an association already.")
    SEQUENCE_EXHAUSTED = (165, "sequence-exhausted", "RFC 4303 3.3.3",
        "The association has used its last sequence number; nothing may be sent on it any more.")
    SELECTORS_TAKEN = (166, "selectors-taken", "RFC 3948 5.1",
        "Another peer has associations for the same addresses; one of the two could get the other's packets.")
    OTHER_ENCAPSULATION = (167, "other-encapsulation", "RFC 3948 3.4",
        "The packet rides otherwise, in UDP or not, than its association says.")
    CHECKSUM_BY_HOST = (168, "checksum-by-host", "N-TX-9",
        "UDP over IPv6 needs a checksum of the sealed packet, and that is no task of the NIC.")
    # fmt: on

    def __str__(self) -> str:
        return self.label


BY_NUMBER = {reason.number: reason for reason in Reason}
