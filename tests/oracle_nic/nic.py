"""What becomes of frames, in both directions.

While a request is pending its rows may be there or not, so more than one outcome may be right: `receive` and `send`
give all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.oracle_esp import iv_length, seal_whole
from tests.oracle_nic import claims, requests
from tests.oracle_nic.answers import Answers
from tests.oracle_nic.packets import (
    AH,
    BLOCK,
    ESP,
    IKE,
    OTHER,
    PROTOCOL,
    UDP,
    Ip,
    Layer,
    Opened,
    Outcome,
    Sa,
    ah_icv,
    esp_in_udp,
    find_ip,
    find_udp,
    framing,
    open_portion,
)
from tests.oracle_nic.requests import FAILURE, LOW_POWER_STATE, RESET_IN_PROGRESS, SUCCESS

MOST_MAYBES = 4
"""More associations in doubt than this, and a frame is only held to what all outcomes have in common."""
Parser = tuple[int, int, int]
"""A parser row: the version whose packets it finds, type and port."""


@dataclass
class World:
    """The tables of a card at one moment."""

    sas: list[Sa]
    parsers: list[Parser]

    def with_also(self, more: Sequence[Sa | Parser]) -> World:
        return World(
            [*self.sas, *(one for one in more if isinstance(one, Sa))],
            [*self.parsers, *(one for one in more if not isinstance(one, Sa))],
        )


class NoLength(Exception):
    """An IPv4 packet says that it has no length: see `has_no_length`."""


class OracleNic(Answers):
    """All of it."""

    # --- frames ------------------------------------------------------------------------------------------------------

    def maybe(self) -> tuple[World, list[Sa | Parser], bool]:
        """What is surely there, what may be there, and whether the card may be off for now."""
        sure, parsers = dict(self.sas), [(1, *entry) for entry in self.entries.values()]
        parsers += [(2, OTHER, 4500)] if self.own_row else []
        perhaps: list[Sa | Parser] = [
            parser for parser in parsers if self.unrestored or self.lost[("parser", *parser[1:])]
        ]
        parsers = [parser for parser in parsers if parser not in perhaps]
        off = bool(self.uncleared or self.lost) or self.resetting or self.unrestored
        changing = any(request.oid == requests.PARAMETERS for request in self.waiting)
        for handle, sa in self.sas.items():
            if not self.is_on(sa) and not changing:
                del sure[handle]
            elif changing or self.unrestored or self.rows_of(handle) & self.lost or handle in self.doubtful:
                perhaps.append(sure.pop(handle))
        for request in self.waiting:
            adds = self.adds_of(request)
            off = off or not adds
            perhaps += [claims.sa_of(add, self.kind_of(add)) for add in adds]
            perhaps += [(1, *add.entry) for add in adds if add.entry]
            for handle in self.touched(request):
                if handle in sure:
                    perhaps.append(sure.pop(handle))
                elif handle in self.entries and (1, *self.entries[handle]) in parsers:
                    parsers.remove((1, *self.entries[handle]))
                    perhaps.append((1, *self.entries[handle]))
            if request.oid == requests.V2_UPDATE_SA and self.touched(request):
                perhaps.append(self.updated(request.buffer)[1])
        return World(list(sure.values()), parsers), perhaps, off

    def receive(self, frame: bytes) -> set[Outcome] | None:
        """What a frame may come to; None where the oracle does not know."""
        sure, perhaps, off = self.maybe()
        if self.low_power or self.removed:
            return {Outcome(frame)}
        if len(perhaps) > MOST_MAYBES:
            return None
        outcomes: set[Outcome] = {Outcome(frame)} if off else set()
        if self.lost:  # UPDATE_SA may have brought one of two layers back
            outcomes.add(Outcome(frame, 1, 0, PROTOCOL))
        for number in range(len(perhaps) + 1):
            for some in combinations(perhaps, number):
                judged = self.judge(frame, sure.with_also(some))
                if judged is None:
                    return None
                outcomes |= judged
        return outcomes

    def judge(self, frame: bytes, world: World) -> set[Outcome] | None:
        """What a card with exactly these tables makes of a frame."""
        untouched = {Outcome(frame)}
        link = self.framing(frame)
        if link and has_no_length(frame, link[1]):
            return None
        ip = find_ip(frame, link[1], link[2]) if link else None
        if not link or not ip or not self.words1 | self.words2:
            return untouched
        bits, words = self.enabled[ip.version == 6], self.words1 | self.words2
        if not bits & link[0] or (ip.options and not self.takes_options(ip, words)):
            return untouched
        outer = self.find_portion(frame, ip, world)
        if not outer or not outer[2]:
            return untouched
        kind, (at, end), candidates = outer
        outcomes: set[Outcome] = set()
        for sa in candidates:
            if ip.options and sa.layer(AH):
                return None  # what AH covers of options is not the oracle's business
            opened = open_portion(frame, ip, at, end, sa, sa.tunnel)
            if opened.status:
                outcomes.add(Outcome(opened.raw, 1, 0, opened.status))
                continue
            alone = Outcome(opened.raw, 1, 0, 0, self.header_of(opened.raw, opened.end) if opened.decrypted else None)
            if opened.next_header not in (4, 41):
                outcomes.add(alone)
                continue
            within = self.judge_inside(frame, opened, kind, world, alone)
            if within is None:
                return None
            outcomes |= within
        return outcomes

    def framing(self, frame: bytes) -> tuple[int, int, int] | None:
        return (1, 0, len(frame)) if self.raw else framing(frame)

    def takes_options(self, ip: Ip, words: set[str]) -> bool:
        return ("options" if ip.version == 4 else "extension headers") in words

    def judge_inside(
        self, frame: bytes, opened: Opened, outer_kind: int | None, world: World, alone: Outcome
    ) -> set[Outcome] | None:
        """The transport portion in a tunnel that was opened (N-RX-3, A-4, A-22)."""
        raw, words = opened.raw, self.words1 | self.words2
        if has_no_length(raw, opened.begin):
            return None
        ip = find_ip(raw, opened.begin, opened.end)
        if not ip or ip.version != {4: 4, 41: 6}[opened.next_header]:
            return {alone}
        inner = self.find_portion(raw, ip, world)
        if not inner or (ip.options and not self.takes_options(ip, words)):
            return {alone}
        kind, (at, end), candidates = inner
        first, second = claims.COMBINATIONS.get((outer_kind, kind), ("no such", "no such"))
        if not ({first, "combined"} <= self.words1 or {second, "combined"} <= self.words2):
            return {Outcome(frame)}
        if not candidates:
            return {alone}
        outcomes = set()
        for sa in candidates:
            if ip.options and sa.layer(AH):
                return None
            both = open_portion(raw, ip, at, end, sa, False)
            header = None
            if not both.status and (both.decrypted or opened.decrypted):
                header = self.header_of(both.raw, both.end if both.decrypted else opened.end)
            outcomes.add(Outcome(both.raw, 1, 1, both.status, header))
        return outcomes

    def header_of(self, raw: bytes, end: int) -> tuple[int, int] | None:
        """NextHeader and PadLength, which version 2 tells (N-V2-19)."""
        return (raw[end - 1], raw[end - 2]) if self.claims2 else None

    def find_portion(self, raw: bytes, ip: Ip, world: World) -> tuple[int | None, tuple[int, int], list[Sa]] | None:
        """How IPsec rides in a packet, where it begins and ends, and the associations it may be of; or no IPsec."""
        kind, at, end, ports, versions = None, ip.begin, ip.end, (0, 0), {1, 2}
        if ip.fragment:
            return None
        if ip.protocol == UDP:
            udp = find_udp(raw, ip)
            parsers = [parser for parser in world.parsers if udp and parser[2] == udp[1]]
            if not udp or not parsers:
                return None
            # A port that a pending request gives to another type is parsed in one way or the other, not in both.
            kind = parsers[-1][1]
            versions = {version for version, other, _ in parsers if other == kind}
            ports, end = udp[:2], udp[3]
            begin = esp_in_udp(raw, udp[2], end, kind)
            if begin is None:
                return None
            at = begin
        elif ip.protocol not in (ESP, AH) or end - at < (8 if ip.protocol == ESP else 12):
            return None
        protocol = AH if ip.protocol == AH else ESP
        spi = int.from_bytes(raw[at + 4 : at + 8] if protocol == AH else raw[at : at + 4], "big")
        candidates = []
        for sa in world.sas:
            layer = sa.layer(protocol)
            if sa.inbound and layer and layer.spi == spi and sa.udp == kind and sa.version in versions:
                candidates += [sa] if sa.wants(ip, ports) else []
        return kind, (at, end), candidates

    # --- sending -----------------------------------------------------------------------------------------------------

    def may_ask_for_room(self) -> bool:
        """Whether SaDeleteReq may be set on a packet: a table is full, and the card's policy is to ask (N-SA-22)."""
        tables, capacity = self.profile["tables"], (self.profile.get("version2") or {}).get("sa_capacity", 1 << 32)
        full = len(self.sas) >= capacity or any(
            sum(len(sa.layers) for sa in self.sas.values() if sa.inbound == inbound) >= tables[table]
            for table, inbound in (("inbound", True), ("outbound", False))
        )
        return tables.get("make_room", "off") != "off" and (full or self.uncleared or bool(self.waiting))

    def send(self, frame: bytes, handle: int, tunnel: int = 0) -> set[tuple[int, bytes]] | None:
        """Statuses, and the frames that leave with them; IVs are all zero. None where the oracle does not know."""
        if self.removed:
            return {(FAILURE, b"")}
        if self.resetting:
            return {(RESET_IN_PROGRESS, b"")}
        if self.low_power:
            return {(LOW_POWER_STATE, b"")}
        if handle == 0:
            return {(SUCCESS, frame)}
        sas = [self.sas.get(one) for one in (handle, *([tunnel] if tunnel else []))]
        changing = any(request.oid == requests.PARAMETERS for request in self.waiting)
        if self.claims2 and not (self.words2 and any(self.enabled)) and not any(sa and sa.version == 1 for sa in sas):
            # Version 2 that is not configured sends without it; a handle of nothing fails if it is looked at (N-V2-16).
            unknown = self.waiting or not all(sa and not sa.inbound for sa in sas)
            return {(SUCCESS, frame)} | ({(FAILURE, b"")} if unknown else set())
        if not all(sa and not sa.inbound and (changing or self.is_on(sa)) for sa in sas):
            return {(FAILURE, b"")}
        link = self.framing(frame)
        try:
            sealed = self.seal(frame, link[1], link[2], [sa for sa in sas if sa]) if link else None
        except NoLength:
            return None
        outcomes = {(FAILURE, b"") if sealed is None else (SUCCESS, sealed)}
        unsure = any(self.rows_of(one) & self.lost for one in (handle, tunnel)) or self.waiting or self.uncleared
        unsure = unsure or self.unrestored
        return outcomes | ({(FAILURE, b"")} if unsure else set())

    def seal(self, raw: bytes, at: int, limit: int, sas: list[Sa]) -> bytes | None:
        """Seal the portion of the last association, after the one inside it (N-TX-1); None: it is not framed so."""
        if has_no_length(raw, at):
            raise NoLength
        sa, ip = sas[-1], find_ip(raw, at, limit)
        place = self.framed(raw, ip, sa) if ip and not ip.fragment else None
        if ip is None or place is None:
            return None
        esp_at, begin, stop, end = place
        if len(sas) > 1:
            inside = self.seal(raw[begin:stop], 0, stop - begin, sas[:1])
            if inside is None:
                return None
            raw = raw[:begin] + inside + raw[stop:]
        esp, ah = sa.layer(ESP), sa.layer(AH)
        if esp:
            head, iv = raw[esp_at : esp_at + 8], bytes(iv_length(esp.keys))
            raw = raw[:esp_at] + seal_whole(esp.keys, head, iv, raw[begin:stop], esp.high) + raw[end:]
        if ah:
            icv = ip.begin + 12
            raw = raw[:icv] + ah_icv(raw, ip, ip.begin, end, ah) + raw[icv + ah.keys.icv_length :]
        return raw

    def framed(self, raw: bytes, ip: Ip, sa: Sa) -> tuple[int, int, int, int] | None:
        """Where ESP, its body, the body's end and the packet's end are, if all is as the association demands."""
        esp, ah = sa.layer(ESP), sa.layer(AH)
        at, end = ip.begin, ip.end
        if ah:
            length = (raw[at + 1] + 2) * 4 if end - at > 12 else 0
            if ip.protocol != AH or not 12 + ah.keys.icv_length <= length <= end - at or not has_spi(raw, at + 4, ah):
                return None
            if esp and raw[at] != ESP:
                return None
            at += length
        elif sa.udp is not None:
            udp = find_udp(raw, ip) if ip.protocol == UDP else None
            if not udp:
                return None
            at, end = udp[2:]
            if sa.udp == IKE:
                if raw[at : at + 8] != bytes(8):
                    return None
                at += 8
        elif ip.protocol != ESP:
            return None
        if not esp:
            return at, at, end, end
        begin, stop = at + 8 + iv_length(esp.keys), end - esp.keys.icv_length
        if stop <= begin or (stop - begin) % BLOCK[esp.keys.cipher] or not has_spi(raw, at, esp):
            return None
        return at, begin, stop, end


def has_no_length(raw: bytes, at: int) -> bool:
    """IPv4 with total length 0: malformed to RFC 791, as long as the frame to those who capture large sends."""
    return len(raw) >= at + 4 and raw[at] >> 4 == 4 and raw[at + 2 : at + 4] == bytes(2)


def has_spi(raw: bytes, at: int, layer: Layer) -> bool:
    return raw[at : at + 4] == layer.spi.to_bytes(4, "big")
