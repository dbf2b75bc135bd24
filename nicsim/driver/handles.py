"""What the driver remembers: handles, slots, the shadow copy of every row, and the list of parser entries.

The card knows slots only, the host knows handles only; this is where the two meet. Nothing here talks to the card.

Used by the OID handlers (associations.py, associations_v2.py, enabling.py) and by the paths (device.py).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import IntEnum

from nicsim.boundary import AddressRow, CardControl, ParserRow, SaRow, Table, UdpType
from nicsim.capabilities import Capabilities, NdisVersion, OtherTasks, Version1Claims, Version2Claims
from nicsim.driver.task_settings import TaskSettings, checksums_left
from offload_oids import Abi
from offload_oids.offload_parameters import (
    IpsecV1Parameter,
    IpsecV2Parameter,
)

VERSION_1_PARSER_SET = 1
"""Parser rows that ADD_UDPESP_SA created and the host names by handle."""
VERSION_2_PARSER_SET = 2
"""The one row that enabling version 2 UDP-ESP brings, which no handle names (A-34)."""

DISABLED = IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED
AH_ONLY = IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_ENABLED
ESP_ONLY = IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_ESP_ENABLED
"""What OID_TCP_OFFLOAD_PARAMETERS may leave of a version; the numbers of version 2 are the same (N-CP6-7)."""

FIRST_HANDLE = 0x10000
HANDLE_STEP = 8
"""Handles look like the pointers they are in real drivers; zero never is one."""


class Slots:
    """The free slots of one table, lowest first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._next = 0
        self._returned: list[int] = []

    def free(self) -> int:
        """How many slots are free."""
        return self.capacity - self._next + len(self._returned)

    def take(self) -> int:
        """Take one; the caller has made sure that one is free."""
        if self._returned:
            return self._returned.pop()
        self._next += 1
        return self._next - 1

    def give_back(self, slot: int) -> None:
        """Return one."""
        self._returned.append(slot)

    def keep_only(self, used: set[int]) -> None:
        """Free all slots but these."""
        self._next = max(used, default=-1) + 1
        self._returned = [slot for slot in reversed(range(self._next)) if slot not in used]


@dataclass(frozen=True, slots=True)
class OffloadedSa:
    """One add request that succeeded: its handle, its rows, and for inbound UDP-ESP the port it is found through."""

    handle: int
    version: int
    table: Table
    rows: tuple[tuple[int, SaRow], ...]
    """Slot and shadow copy of each row; one a layer."""


@dataclass(frozen=True, slots=True)
class SharedAddress:
    """A row of the card's table of receive addresses, and how many inbound associations need it."""

    slot: int
    users: int
    written: bool = False


@dataclass(frozen=True, slots=True)
class ParserEntry:
    """One entry of the driver's list: type, port, the handle the host knows it by, and its row (N-PE-1)."""

    handle: int
    udp_type: UdpType
    port: int
    slot: int


class DevicePower(IntEnum):
    """NDIS_DEVICE_POWER_STATE, what OID_PNP_SET_POWER sets."""

    D0 = 1
    D1 = 2
    D2 = 3
    D3 = 4


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the host has configured in NDIS 6.x; nothing of it says what the card can do (N-CP6-1)."""

    encapsulations: tuple[int, int] | None = None
    """IPv4 and IPv6, as OID_OFFLOAD_ENCAPSULATION set them; None before the first set, when the card is off."""
    ipsec_v1: int = IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_AND_ESP_ENABLED
    ipsec_v2: int = IpsecV2Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED
    """What OID_TCP_OFFLOAD_PARAMETERS leaves of each version; what the keywords say before the first set (N-CP6-7)."""
    tasks: TaskSettings = field(default_factory=TaskSettings)
    """What it leaves of the other tasks."""


def version1_left(claims: Version1Claims | None, setting: int) -> Version1Claims | None:
    """What a setting of OID_TCP_OFFLOAD_PARAMETERS leaves of the version 1 claims; without a cipher there is no ESP."""
    if claims is None or setting == DISABLED or (setting == AH_ONLY and not claims.ah):
        return None
    if setting == AH_ONLY:
        return replace(claims, des=False, triple_des=False, null_esp=False, ah_esp_combined=False)
    return replace(claims, ah=False, ah_esp_combined=False) if setting == ESP_ONLY else claims


def version2_left(claims: Version2Claims | None, setting: int) -> Version2Claims | None:
    """The same of version 2."""
    if claims is None or setting == DISABLED or (setting == AH_ONLY and not claims.ah):
        return None
    if setting == AH_ONLY:
        return replace(claims, esp=False, ah_esp_combined=False)
    return replace(claims, ah=False, ah_esp_combined=False) if setting == ESP_ONLY else claims


@dataclass(slots=True)
class DriverState:
    """Everything the driver knows."""

    capabilities: Capabilities
    abi: Abi
    slots: dict[Table, Slots] = field(init=False)
    associations: dict[int, OffloadedSa] = field(default_factory=dict)
    parser_entries: dict[int, ParserEntry] = field(default_factory=dict)
    addresses: dict[AddressRow, SharedAddress] = field(default_factory=dict)
    """Where the card has such a table: each address that inbound associations are for, with its row."""
    withdrawn: set[int] = field(default_factory=set)
    """Handles of associations whose rows are out of the card, because what they need is disabled."""
    own_parser_row: int | None = None
    """The slot of version 2's row for port 4500, once it is there."""
    control: CardControl = field(default_factory=CardControl)
    """What the host has enabled. The card is off all the same while a row is marked."""
    enabled_version1: Version1Claims | None = None
    """What of version 1 an enabling set of OID_TCP_TASK_OFFLOAD asked for (N-CAP-11); None: whatever is claimed."""
    enabled_tasks: OtherTasks | None = None
    """The tasks beside IPsec that an enabling set asked for; None: whatever is claimed."""
    task_offload_enabled: bool = False
    """An enabling set of OID_TCP_TASK_OFFLOAD came and no disabling one since (A-13)."""
    configuration: Configuration = field(default_factory=Configuration)
    packet_filter: int = 0
    multicast_list: tuple[bytes, ...] = ()
    power: DevicePower = DevicePower.D0
    resetting: bool = False
    removed: bool = False
    marked: list[tuple[Table, int]] = field(default_factory=list)
    """Rows that the card failed to clear: marked for deletion and tried again (N-DEL-4)."""
    last_used: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Where room is made: the inbound slots whose associations received packets, the longest ago first."""
    packets_waited: int = 0
    """Good packets since the tables were full and the first of those was last asked about, or passed over."""
    _last_handle: int = FIRST_HANDLE

    def __post_init__(self) -> None:
        claims = self.capabilities
        self.slots = {
            Table.INBOUND: Slots(claims.inbound_rows),
            Table.OUTBOUND: Slots(claims.outbound_rows),
            Table.PARSER: Slots(claims.parser_rows),
            Table.ADDRESS: Slots(claims.address_rows),
        }
        if claims.ndis is not NdisVersion.NDIS_5_1:
            keywords, has_ipv6 = claims.keywords, claims.version2 is not None and claims.version2.ipv6
            version2 = keywords.ipsec_offload_v2 if has_ipv6 else keywords.ipsec_offload_v2_ipv4
            # The keywords count from one less than the parameters (N-CP6-8).
            self.configuration = Configuration(ipsec_v1=keywords.ipsec_offload_v1_ipv4 + 1, ipsec_v2=version2 + 1)

    @property
    def version1(self) -> Version1Claims | None:
        """The version 1 claims in force: what is enabled of them, where the host said so."""
        return version1_left(self.enabled_version1 or self.capabilities.version1, self.configuration.ipsec_v1)

    @property
    def tasks(self) -> OtherTasks:
        """The tasks beside IPsec in force."""
        return checksums_left(self.enabled_tasks or self.capabilities.other_tasks, self.configuration.tasks)

    @property
    def version2(self) -> Version2Claims | None:
        """The version 2 claims in force."""
        return version2_left(self.capabilities.version2, self.configuration.ipsec_v2)

    @property
    def in_service(self) -> bool:
        """Full power, and neither resetting nor removed."""
        return self.power is DevicePower.D0 and not self.resetting and not self.removed

    def is_withdrawn(self, place: tuple[Table, int]) -> bool:
        """Whether a row is that of an association which is out of the card for now, and so keeps its slot."""
        associations = (self.associations[handle] for handle in self.withdrawn)
        return any(one.table is place[0] and place[1] in (slot for slot, _ in one.rows) for one in associations)

    def forget_what_is_not_kept(self) -> None:
        """The card is about to forget its rows: free every slot that nothing claims, marked ones too.

        A request that the reset cuts short has counted as a user of its address, so those are counted anew.
        """
        self.addresses.clear()
        used: dict[Table, set[int]] = {table: set() for table in Table}
        used[Table.PARSER] = {entry.slot for entry in self.parser_entries.values()}
        if self.own_parser_row is not None:
            used[Table.PARSER].add(self.own_parser_row)
        for association in self.associations.values():
            used[association.table].update(slot for slot, _ in association.rows)
            first = association.rows[0][1]
            if first.address_slot:
                address, slot = AddressRow(first.family, first.destination_address), first.address_slot - 1
                users = self.addresses[address].users if address in self.addresses else 0
                self.addresses[address] = SharedAddress(slot, users + 1, written=True)
                used[Table.ADDRESS].add(slot)
        for table, slots in self.slots.items():
            slots.keep_only(used[table])
        self.marked.clear()

    def forget_offloads(self) -> None:
        """Forget associations and parser entries with their handles; where their rows were is free after a reset."""
        self.associations.clear()
        self.withdrawn.clear()
        self.parser_entries.clear()
        self.last_used.clear()

    def forget_everything(self) -> None:
        """The card is gone, and with it all that was offloaded (N-RST-6)."""
        self.forget_offloads()
        self.own_parser_row = None
        self.control = CardControl()
        self.forget_what_is_not_kept()

    def new_handle(self) -> int:
        """A handle that names nothing yet; it fits the host's pointer and is not reused while alive."""
        while True:
            self._last_handle += HANDLE_STEP
            if self._last_handle >> (8 * self.abi.pointer_size):
                self._last_handle = FIRST_HANDLE
            if self._last_handle not in self.associations and self._last_handle not in self.parser_entries:
                return self._last_handle

    def entry_for(self, udp_type: UdpType, port: int) -> ParserEntry | None:
        """The entry with this type and port, if the list has it (N-ADD-3)."""
        for entry in self.parser_entries.values():
            if entry.port == port and entry.udp_type == udp_type:
                return entry
        return None

    def other_type_on(self, udp_type: UdpType, port: int) -> bool:
        """Whether a row of another type already parses this port (A-33)."""
        version2 = self.capabilities.version2
        if version2 and version2.udp_esp and port == OWN_PARSER_ROW.port and udp_type != OWN_PARSER_ROW.udp_type:
            return True  # spoken for, enabled or not
        return any(entry.port == port and entry.udp_type != udp_type for entry in self.parser_entries.values())


OWN_PARSER_ROW = ParserRow(port=4500, udp_type=UdpType.OTHER, parser_set=VERSION_2_PARSER_SET)
