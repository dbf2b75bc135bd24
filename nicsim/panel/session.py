"""The front panel's session: one NIC with the reference driver, one host offloader, and the commands that work them.

`COMMANDS` is the table of contents. A command takes the words behind its name and answers with data; what is wrong
with them raises an error of `errors.py`, and `Panel.reply` turns that into the reply's `error`.

Called by the command line, which brings the lines and the reader of SA files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nicsim.boundary import Descriptor, Indication, OidRequest, OidResult, RequestKind, Table
from nicsim.capabilities import Capabilities, NdisVersion
from nicsim.driver.device import ReferenceDriver
from nicsim.driver.handles import DevicePower
from nicsim.driver.power import POWER_LENGTH
from nicsim.errors import InputError, NicsimError
from nicsim.host.offloader import LinkMedium, Offloaded, Offloader
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.suitable import InSoftware
from nicsim.host.transport import ReceiveWords
from nicsim.nic import Nic
from nicsim.panel import words
from nicsim.panel.answers import (
    Answer,
    Deleted,
    Dump,
    FrameAnswer,
    FramesAnswer,
    Goodbye,
    Help,
    Loaded,
    Marked,
    OidAnswer,
    ParserLine,
    Reply,
    SaLine,
    SaOutcome,
    Sent,
    Serviced,
    Stats,
    Switched,
    Usage,
)
from nicsim.panel.claims import claims_of
from nicsim.panel.decode import decoded, query_buffer, task_header
from nicsim.panel.tables import (
    Counts,
    Held,
    Moment,
    difference,
    handle_text,
    moment_of,
    parser_lines,
    sa_lines,
    spi_text,
)
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.wire.packet import LinkType, link_type_name
from nicsim.wire.pcap import Frame, open_capture
from offload_oids import Abi, Oid, StructureError
from offload_oids.layout import size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadSet,
)
from offload_oids.task_offload import NdisEncapsulation

SaReader = Callable[[str], list[words.SaWords]]
"""Reads an SA file; raises InputError."""

GOOD = (Reason.OPENED, Reason.CHECKED)
LARGEST_HEX_FILE = 1 << 22
NOW = "now"


class CountedIvs:
    """The card's source of IVs: 1, 2, 3, so that a session can be repeated exactly."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self, length: int) -> bytes:
        self._last += 1
        return self._last.to_bytes(16, "big")[16 - length :]


class CountedNic(Nic):
    """A NIC that counts its requests, whoever makes them."""

    def __init__(self, capabilities: Capabilities, abi: Abi, counts: Counts) -> None:
        self._counts = counts
        super().__init__(capabilities, iv_source=CountedIvs(), abi=abi)

    def request(self, request: OidRequest) -> OidResult:
        """An OID request, the offloader's or one of the session's own."""
        result = super().request(request)
        self._counts.requests[f"{oid_name(request.oid)} {result.status.name}"] += 1
        return result


class Panel:
    """One session. `reply` takes a command line; nothing it is given can end it but `quit`."""

    def __init__(self, capabilities: Capabilities, abi: Abi, read_sas: SaReader) -> None:
        self.over = False
        self._counts = Counts()
        self.nic = CountedNic(capabilities, abi, self._counts)
        assert isinstance(self.nic.driver, ReferenceDriver)  # the default of Nic; the panel reads its tables
        self._state = self.nic.driver.state
        self._offloader = Offloader(self.nic, capabilities.ndis)
        self._words = ReceiveWords(capabilities.ndis, abi)
        self._read_sas = read_sas
        self._held: list[Held] = []
        self._moments: dict[str, Moment] = {}
        self._lines = 0

    def reply(self, line: str) -> Reply | None:
        """Run one command line; None for an empty one or a comment."""
        self._lines += 1
        if not line.strip() or line.lstrip().startswith("#"):
            return None
        name = ""
        try:
            name, *rest = words.split(line)
            command = COMMANDS.get(name.lower())
            if command is None:
                name = ascii(name[:40])[1:-1] if words.shown(name)[0] != "(" else "?"
                raise InputError(f"there is no command {words.shown(name)}; help lists them")
            return Reply(self._lines, command.name, answer=command.run(self, rest))
        except (NicsimError, StructureError) as error:
            return Reply(self._lines, name, error=" ".join(str(error).split()))

    # --- the card ------------------------------------------------------------------------------------------------

    def help(self, rest: list[str]) -> Answer:
        """All commands, or one."""
        wanted = [name.lower() for name in rest]
        if unknown := [name for name in wanted if name not in COMMANDS]:
            raise InputError(f"there is no command {words.shown(unknown[0])}; help lists them")
        return Help(tuple(one.shown() for one in COMMANDS.values() if not wanted or one.name in wanted))

    def profile(self, rest: list[str]) -> Answer:
        """What the card claims."""
        need(rest, 0, 0, "profile")
        return claims_of(self.nic.capabilities, self.nic.abi)

    def enable(self, rest: list[str]) -> Answer:
        """Query the card as a host does, and enable all of it on Ethernet."""
        need(rest, 0, 0, "enable")
        if self._offloader.enabled:
            raise InputError("offload is enabled already; disable comes first (A-13)")
        self._offloader.enable(LinkMedium.ETHERNET)
        return Switched(self._offloader.enabled, self._offloader.not_enabled_detail)

    def disable(self, rest: list[str]) -> Answer:
        """Disable everything; associations stay where they are (A-13)."""
        need(rest, 0, 0, "disable")
        abi, old = self.nic.abi, self.nic.capabilities.ndis is NdisVersion.NDIS_5_1
        oid = Oid.OID_TCP_TASK_OFFLOAD if old else Oid.OID_OFFLOAD_ENCAPSULATION
        if old:  # no chain of tasks behind the header: none is wanted (N-CAP-12)
            buffer = task_header(abi, NdisEncapsulation.IEEE_802_3_Encapsulation)
        else:
            size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", abi)
            header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size)
            off = FamilyEncapsulation(NdisOffloadSet.NDIS_OFFLOAD_SET_OFF)
            buffer = NdisOffloadEncapsulation(header, off, off).pack(abi)
        result = self.nic.request(OidRequest(RequestKind.SET, oid, buffer, abi))
        if result.status.name == "SUCCESS":
            self._offloader.enabled, self._offloader.not_enabled_detail = False, "it was disabled"
            return Switched(False, "")
        return Switched(self._offloader.enabled, f"{oid.name} ended with {result.status.name}: {result.detail}")

    def reset(self, rest: list[str]) -> Answer:
        """Reset the NIC, as NDIS does when a miniport hangs; its driver restores the tables (N-RST-1)."""
        need(rest, 0, 0, "reset")
        status = self.nic.reset()
        return Serviced(status.name, self._state.power.name)

    def power(self, rest: list[str]) -> Answer:
        """Another power state, by OID_PNP_SET_POWER (N-RST-5)."""
        need(rest, 1, 1, "power")
        wanted = words.one_of("power", rest[0], {state.name: state for state in DevicePower})
        buffer = int(wanted).to_bytes(POWER_LENGTH, "little")
        result = self.nic.request(OidRequest(RequestKind.SET, Oid.OID_PNP_SET_POWER, buffer, self.nic.abi))
        reason = result.reason
        return Serviced(
            result.status.name,
            self._state.power.name,
            reason.label if reason else None,
            reason.rule if reason else None,
            result.detail,
        )

    # --- associations --------------------------------------------------------------------------------------------

    def add(self, rest: list[str]) -> Answer:
        """One association from its words."""
        if rest[:1] != ["sa"]:
            raise InputError(f"needs: {COMMANDS['add'].usage}")
        sa, inbound = words.sa_words(words.pairs(rest[1:], words.SA_WORDS))
        return self._offload(sa.association(inbound=inbound))

    def load(self, rest: list[str]) -> Answer:
        """The associations of a file that begin or end at `local`."""
        need(rest, 1, 6, "load")
        given = words.pairs(rest[1:], words.LOAD_WORDS)
        if "local" not in given:
            raise InputError("load needs local=ADDR: the host whose NIC this is")
        local = words.address("local", given["local"])
        file = self._read_sas(rest[0])
        ours = [words.at_home(sa, local, given) for sa in file if local in (sa.src, sa.dst)]
        return Loaded(tuple(self._offload(sa) for sa in ours), skipped=len(file) - len(ours))

    def _offload(self, sa: SecurityAssociation) -> SaOutcome:
        outcome = self._offloader.add(sa)
        # One that was kept in software before has had its second try.
        self._held = [one for one in self._held if one.handle or not one.is_same_as(sa)]
        self._held.append(Held(sa, outcome))
        direction = "in" if sa.inbound else "out"
        if isinstance(outcome, Offloaded):
            entry = handle_text(outcome.parser_entry.handle) if outcome.parser_entry else None
            return SaOutcome(
                spi_text(sa.spi), direction, True, outcome.oid.name, handle_text(outcome.handle), entry, "SUCCESS"
            )
        return SaOutcome(
            spi_text(sa.spi),
            direction,
            False,
            status=outcome.status.name if outcome.status is not None else None,
            reason=outcome.reason.label,
            rule=outcome.reason.rule,
            detail=outcome.detail,
        )

    def delete(self, rest: list[str]) -> Answer:
        """One association by its handle or its SPI."""
        need(rest, 1, 1, "delete")
        one = self._find(rest[0])
        self._held.remove(one)
        if isinstance(one.outcome, InSoftware):
            return Deleted(spi_text(one.sa.spi), None, None)
        result = self._offloader.delete(one.outcome)
        reason = result.reason
        return Deleted(
            spi_text(one.sa.spi),
            handle_text(one.handle),
            result.status.name,
            reason.label if reason else None,
            reason.rule if reason else None,
            result.detail,
        )

    def _find(self, text: str) -> Held:
        """The host's association with this handle, or else with this SPI."""
        key, equals, value = text.partition("=")
        if equals and key not in ("handle", "spi"):
            raise InputError(f"needs HANDLE, SPI, handle=HANDLE or spi=SPI, got {words.shown(text)}")
        wanted = words.number("the handle or SPI", value if equals else text, 2**64 - 1, 1)
        found = [one for one in self._held if one.handle == wanted and key != "spi"]
        found = found or [one for one in self._held if one.sa.spi == wanted and key != "handle"]
        if not found:
            raise InputError(f"the host holds no association with handle or SPI 0x{wanted:x}; dump sas lists them")
        if len(found) > 1:
            handles = ", ".join(handle_text(one.handle) if one.handle else "one in software" for one in found)
            raise InputError(f"several associations have SPI 0x{wanted:x}, name one by its handle: {handles}")
        return found[0]

    # --- requests ------------------------------------------------------------------------------------------------

    def query(self, rest: list[str]) -> Answer:
        """A query request, answered by NDIS or by the driver."""
        need(rest, 1, 1, "query")
        oid = words.one_of("the OID", rest[0], OIDS)
        return self._requested(RequestKind.QUERY, oid, query_buffer(oid, self.nic.abi), show_keys=False)

    def oid(self, rest: list[str]) -> Answer:
        """A raw set request with a buffer of the user's own."""
        show_keys = take_flag(rest, "--show-keys")
        need(rest, 2, 2, "oid")
        oid = words.one_of("the OID", rest[0], OIDS)
        text = rest[1] if rest[1][:2] in ("0x", "0X") else text_of(rest[1])
        return self._requested(RequestKind.SET, oid, words.octets("the buffer", text), show_keys=show_keys)

    def _requested(self, kind: RequestKind, oid: Oid, buffer: bytes, *, show_keys: bool) -> OidAnswer:
        result = self.nic.request(OidRequest(kind, oid, buffer, self.nic.abi))
        return OidAnswer(
            oid.name,
            kind.value,
            result.status.name,
            result.bytes_read,
            result.bytes_written,
            result.bytes_needed,
            result.reason.label if result.reason else None,
            result.reason.rule if result.reason else None,
            result.detail,
            decoded(kind, oid, result.buffer, self.nic.abi, show_keys=show_keys),
        )

    # --- frames --------------------------------------------------------------------------------------------------

    def feed(self, rest: list[str]) -> Answer:
        """Frames of a capture, off the wire into the NIC."""
        need(rest, 2, 2, "feed")
        if rest[0] == "-":
            raise InputError("feed needs a file; standard input may be the script")
        every = rest[1].lower() == "all"
        wanted = 0 if every else words.number("FRAME", rest[1], 2**53, 1)
        reasons, handles, frames = Counter[str](), self._handles(), 0
        with open_capture(rest[0]) as capture:
            for frame in capture:
                frames = frame.number
                if every and len(frame.data) < frame.original_length:
                    reasons[Reason.NOT_CAPTURED_WHOLE.label] += 1
                elif every:
                    reasons[self._received(whole(frame), handles, frames).reason] += 1
                elif frames == wanted:
                    return self._received(whole(frame), handles, frames)
        if every:
            return FramesAnswer(frames, dict(reasons))
        raise InputError(f"the capture has {frames} frames, so there is no frame {wanted}")

    def frame(self, rest: list[str]) -> Answer:
        """One frame from its hex digits."""
        if not rest:
            raise InputError(f"needs: {COMMANDS['frame'].usage}")
        return self._received(words.octets("the frame", "".join(rest)), self._handles(), None)

    def _handles(self) -> dict[int, int]:
        """The offload handle behind each inbound slot."""
        return {
            slot: offloaded.handle
            for offloaded in self._state.associations.values()
            if offloaded.table is Table.INBOUND
            for slot, _ in offloaded.rows
        }

    def _received(self, data: bytes, handles: dict[int, int], number: int | None) -> FrameAnswer:
        indication, descriptor = self.nic.receive(data)
        word, reason = self._words.read(indication.ipsec), BY_NUMBER[descriptor.reason]
        handle = handles.get(descriptor.slot - 1)
        self._counts.received[reason.label] += 1
        if handle is not None:
            self._counts.packets[handle] += 1
            self._counts.failed[handle] += reason not in GOOD
        parser = self.nic.card.rows.parser.get(descriptor.parser_slot - 1)
        return FrameAnswer(
            frame=number,
            reason=reason.label,
            rule=reason.rule,
            sentence=reason.sentence,
            handle=None if handle is None else handle_text(handle),
            parser_port=parser.port if parser else None,
            crypto_done=word.crypto_done,
            next_crypto_done=word.next_crypto_done,
            crypto_status=word.crypto_status.name,
            ipsec_word=indication.ipsec.hex(),
            plaintext=plaintext_of(indication, descriptor, reason),
        )

    def send(self, rest: list[str]) -> Answer:
        """A frame of the host, to be sealed by an association."""
        if len(rest) < 2:
            raise InputError(f"needs: {COMMANDS['send'].usage}")
        one, data = self._find(rest[0]), words.octets("the frame", "".join(rest[1:]))
        if one.sa.inbound or not one.handle:
            raise InputError("send needs an outbound association that is on the NIC")
        result = self.nic.send(data, self._offloader.transmit_word(one.handle))
        self._counts.sent[result.reason.label] += 1
        return Sent(
            result.status.name, result.reason.label, result.reason.rule, result.reason.sentence, result.frame.hex()
        )

    # --- looking -------------------------------------------------------------------------------------------------

    def dump(self, rest: list[str]) -> Answer:
        """The tables."""
        show_keys = take_flag(rest, "--show-keys")
        need(rest, 0, 1, "dump")
        what = rest[0].lower() if rest else "all"
        if what not in ("sas", "parser", "stats", "all"):
            raise InputError(f"dump needs sas, parser, stats or all, got {words.shown(rest[0])}")
        return Dump(
            sas=self._sas(show_keys) if what in ("sas", "all") else None,
            parser=self._parser() if what in ("parser", "all") else None,
            stats=self._stats() if what in ("stats", "all") else None,
        )

    def _sas(self, show_keys: bool = False) -> tuple[SaLine, ...]:
        return sa_lines(self._state, self.nic.card.rows.parser, self._held, self._counts, show_keys=show_keys)

    def _parser(self) -> tuple[ParserLine, ...]:
        return parser_lines(self._state, self.nic.card.rows.parser, self._offloader.parser_entries)

    def _stats(self) -> Stats:
        rows = self.nic.card.rows
        used = {
            Table.INBOUND: len(rows.inbound),
            Table.OUTBOUND: len(rows.outbound),
            Table.PARSER: len(rows.parser),
        }
        if rows.capacity[Table.ADDRESS]:
            used[Table.ADDRESS] = len(rows.address)
        return Stats(
            enabled=self._offloader.enabled,
            power=self._state.power.name,
            used={table.value: count for table, count in used.items()},
            capacity={table.value: rows.capacity[table] for table in used},
            in_software=sum(not one.handle for one in self._held),
            counters=self._counts.shown(),
        )

    def counters(self, rest: list[str]) -> Answer:
        """What happened so far."""
        need(rest, 0, 0, "counters")
        return self._counts.shown()

    def mark(self, rest: list[str]) -> Answer:
        """Keep this moment under a name."""
        need(rest, 1, 1, "mark")
        if rest[0] == NOW or words.shown(rest[0])[0] == "(":
            raise InputError(f"a mark needs a short name other than {NOW}")
        sas, parser = self._sas(), self._parser()
        self._moments[rest[0]] = self._moment()
        return Marked(rest[0], len(sas), len(parser))

    def diff(self, rest: list[str]) -> Answer:
        """What lies between a moment and another, or now."""
        need(rest, 1, 2, "diff")
        before, after = rest[0], rest[1] if len(rest) > 1 else NOW
        for name in (before, after):
            if name != NOW and name not in self._moments:
                raise InputError(
                    f"there is no mark {words.shown(name)}; there are {', '.join(self._moments) or 'none'}"
                )
        moments = {NOW: self._moment(), **self._moments}
        return difference(before, moments[before], after, moments[after])

    def _moment(self) -> Moment:
        return moment_of(self._sas(), self._parser(), self._stats())

    def quit(self, rest: list[str]) -> Answer:
        """End the session."""
        need(rest, 0, 0, "quit")
        self.over = True
        return Goodbye()


@dataclass(frozen=True, slots=True)
class Command:
    """One command: how to write it, what it does, an example, and what runs it."""

    name: str
    usage: str
    about: str
    example: str
    run: Callable[[Panel, list[str]], Answer]

    def shown(self) -> Usage:
        """The part that is for reading."""
        return Usage(self.name, self.usage, self.about, self.example)


SA_USAGE = (
    "add sa spi=SPI src=ADDR dst=ADDR dir=in|out [mode=tunnel|transport] [udp=none|other|ike] [port=N] [sport=N] "
    "[encryption=NAME key=HEX [salt=HEX]] [integrity=NAME ikey=HEX]"
)
SA_EXAMPLE = (
    "add sa spi=0x1001 src=198.51.100.7 dst=192.0.2.1 dir=in udp=other port=4500 "
    "integrity=HMAC_MD5_96 ikey=000102030405060708090a0b0c0d0e0f"
)

# fmt: off
COMMANDS: dict[str, Command] = {command.name: command for command in (
    Command("help", "help [COMMAND]", "the commands, or one of them", "help add", Panel.help),
    Command("profile", "profile", "what the card reports of itself", "profile", Panel.profile),
    Command("enable", "enable", "ask the card what it can do, and enable all of it", "enable", Panel.enable),
    Command("disable", "disable", "disable offload; associations stay", "disable", Panel.disable),
    Command("add", SA_USAGE, "offload one association", SA_EXAMPLE, Panel.add),
    Command("load", "load SAFILE local=ADDR [as=ADDR] [port=N] [mode=tunnel|transport] [udp=none|other|ike]",
            "offload the associations of a file that begin or end at ADDR; as= and port= where a NAT changed them",
            "load traces/natt-3des-md5-server.sas.json local=203.0.113.2", Panel.load),
    Command("delete", "delete HANDLE|SPI", "take an association off the NIC", "delete 0x1001", Panel.delete),
    Command("query", "query OID_NAME", "a query request, its answer decoded",
            "query OID_TCP_OFFLOAD_CURRENT_CONFIG", Panel.query),
    Command("oid", "oid OID_NAME HEXFILE|0xHEX [--show-keys]", "a raw set request, its answer decoded",
            "oid OID_TCP_TASK_IPSEC_DELETE_SA request.txt", Panel.oid),
    Command("feed", "feed CAPTURE FRAME|all", "frames of a capture, off the wire into the NIC",
            "feed traces/natt-3des-md5-server.pcap 13", Panel.feed),
    Command("frame", "frame HEX", "one Ethernet frame off the wire", "frame ffffffffffff...", Panel.frame),
    Command("send", "send HANDLE|SPI HEX", "one framed and padded frame of the host, for the NIC to seal",
            "send 0x2002 ffffffffffff...", Panel.send),
    Command("dump", "dump [sas|parser|stats|all] [--show-keys]", "the tables", "dump sas", Panel.dump),
    Command("counters", "counters", "what happened so far", "counters", Panel.counters),
    Command("mark", "mark NAME", "keep this moment under a name", "mark before", Panel.mark),
    Command("diff", "diff NAME [NAME]", "what lies between two moments, or one and now", "diff before", Panel.diff),
    Command("reset", "reset", "reset the NIC; its driver restores the tables", "reset", Panel.reset),
    Command("power", "power D0|D1|D2|D3", "set the power state", "power D3", Panel.power),
    Command("quit", "quit", "end the session", "quit", Panel.quit),
)}
# fmt: on
OIDS = {oid.name: oid for oid in Oid}


def oid_name(oid: int) -> str:
    """The name of an OID, or its number."""
    return Oid(oid).name if oid in OIDS.values() else f"0x{oid:08X}"


def need(rest: list[str], least: int, most: int, command: str) -> None:
    """Refuse too few or too many words."""
    if not least <= len(rest) <= most:
        raise InputError(f"needs: {COMMANDS[command].usage}")


def take_flag(rest: list[str], flag: str) -> bool:
    """Whether a flag is among the words; it is taken out."""
    if flag not in rest:
        return False
    rest.remove(flag)
    return True


def text_of(path: str) -> str:
    """The text of a hex file."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST_HEX_FILE + 1)
        if len(raw) > LARGEST_HEX_FILE:
            raise InputError(f"a hex file needs at most {LARGEST_HEX_FILE} bytes")
        return raw.decode("ascii")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no text, or a NUL inside the path
        what = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{words.shown(path)} cannot be read: {what}") from None


def whole(frame: Frame) -> bytes:
    """The octets of a captured frame that a NIC on Ethernet can be fed."""
    if frame.link_type != LinkType.ETHERNET:
        raise InputError(
            f"frame {frame.number} has link type {link_type_name(frame.link_type)}; the panel's NIC is on Ethernet"
        )
    if len(frame.data) < frame.original_length:
        raise InputError(f"frame {frame.number} was captured only in part")
    return frame.data


def plaintext_of(indication: Indication, descriptor: Descriptor, reason: Reason) -> str | None:
    """The decrypted octets, of a frame that was opened."""
    if reason is not Reason.OPENED:
        return None
    return indication.frame[descriptor.payload_offset : descriptor.payload_end].hex()
