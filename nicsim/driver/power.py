"""Reset, power states and removal: what becomes of the card's tables, and of requests and sends meanwhile.

Associations, parser entries and handles outlive a reset and low power, because no one adds them again (N-RST-1,
N-RST-2, A-26): the driver keeps a shadow copy of every row and writes the tables anew. Only removal ends them
(N-RST-6). That is one reading; a card whose `losses` say so comes back with empty tables.

Called through control.py; `refused_send` by the send path in device.py.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from nicsim.boundary import CardControl, OidRequest, OidResult, ParserRow, SendResult, Table
from nicsim.driver.handles import OWN_PARSER_ROW, VERSION_1_PARSER_SET, DevicePower, DriverState
from nicsim.driver.operations import CardReset, Operation, RowOperation, Steps
from nicsim.driver.withdrawal import writes_of
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid
from offload_oids.layout import TooShort

POWER_LENGTH = 4

# Their own pages name NOT_ACCEPTED for a driver that is resetting; for all others the generic status is meant.
NOT_ACCEPTED_WHILE_RESETTING = frozenset({Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, Oid.OID_PNP_SET_POWER})


# --- power ---------------------------------------------------------------------------------------------------------


def set_power(state: DriverState, request: OidRequest) -> Steps:
    """OID_PNP_SET_POWER set: leave full power, or come back to it with everything as it was (N-RST-5)."""
    # UNPACK
    if len(request.buffer) < POWER_LENGTH:
        raise TooShort("OID_PNP_SET_POWER", POWER_LENGTH, len(request.buffer))
    number = int.from_bytes(request.buffer[:POWER_LENGTH], "little")

    # CHECK
    if number not in list(DevicePower):
        raise RequestRefused(
            NdisStatus.INVALID_DATA, Reason.BUFFER_CONTENTS, f"the power state must be 1 (D0) to 4 (D3), not {number}"
        )
    asked = DevicePower(number)

    # ACT
    restored = True
    if asked is not DevicePower.D0:
        state.power = asked
        if asked is DevicePower.D3 and state.capabilities.losses.on_d3:
            state.forget_offloads()
        yield CardControl()
    elif state.power is not DevicePower.D0:
        restored = yield from restore_card(state)

    # ANSWER
    reason = None if restored else Reason.NOT_RESTORED
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=POWER_LENGTH, reason=reason)


# --- reset ---------------------------------------------------------------------------------------------------------


def reset(state: DriverState) -> Steps:
    """MiniportReset: the card forgets everything, and the driver gives it back (N-RST-1)."""
    state.resetting = True
    if state.capabilities.losses.on_reset:
        state.forget_offloads()
    restored = True
    if state.power is DevicePower.D0:
        restored = yield from restore_card(state)
    # In low power the tables come back on the way to D0.
    state.resetting = False
    if restored:
        return OidResult(NdisStatus.SUCCESS)
    return OidResult(NdisStatus.HARD_ERRORS, reason=Reason.NOT_RESTORED)


def restore_card(state: DriverState) -> Generator[Operation, bool | None, bool]:
    """Write every row again from its shadow copy, then the control register; whether the card took them all.

    An association whose row failed keeps its handle. Its packets go up unprocessed, and sends that name it fail.
    """
    state.forget_what_is_not_kept()
    yield CardReset()
    all_done = True
    for writes in list(shadow_copies(state)):
        for write in writes:
            if not (yield write):
                all_done = False
                break  # half an association would judge packets that it should leave alone
    state.power = DevicePower.D0
    yield state.control
    return all_done


def shadow_copies(state: DriverState) -> Iterator[list[RowOperation]]:
    """Every row that the card should have, in the order in which the rows came; those of one association together."""
    if state.own_parser_row is not None:
        yield [RowOperation(Table.PARSER, state.own_parser_row, OWN_PARSER_ROW)]
    for entry in state.parser_entries.values():
        yield [RowOperation(Table.PARSER, entry.slot, ParserRow(entry.port, entry.udp_type, VERSION_1_PARSER_SET))]
    for address, shared in state.addresses.items():
        yield [RowOperation(Table.ADDRESS, shared.slot, address)]
    for association in state.associations.values():
        if association.handle not in state.withdrawn:
            yield writes_of(association)


# --- who is turned away meanwhile ----------------------------------------------------------------------------------


def refused_at_the_door(state: DriverState, oid: int) -> RequestRefused | None:
    """The answer to a request that comes after removal or during a reset (A-1)."""
    if state.removed:
        return RequestRefused(NdisStatus.NOT_ACCEPTED, Reason.ADAPTER_REMOVED, "the NIC was removed")
    if state.resetting:
        documented = oid in NOT_ACCEPTED_WHILE_RESETTING
        status = NdisStatus.NOT_ACCEPTED if documented else NdisStatus.RESET_IN_PROGRESS
        return RequestRefused(status, Reason.RESETTING, "the NIC is resetting")
    return None


def refused_when_its_turn_comes(state: DriverState, oid: int) -> RequestRefused | None:
    """The answer to a request that would work on a card without power; only SET_POWER can change that."""
    if state.power is DevicePower.D0 or oid == Oid.OID_PNP_SET_POWER:
        return None
    return RequestRefused(NdisStatus.NOT_ACCEPTED, Reason.LOW_POWER, f"the NIC is in {state.power.name}")


def refused_send(state: DriverState) -> SendResult:
    """The answer to a send while the driver is out of service (N-RST-5)."""
    if state.removed:
        return SendResult(NdisStatus.FAILURE, b"", Reason.ADAPTER_REMOVED)
    if state.resetting:
        return SendResult(NdisStatus.RESET_IN_PROGRESS, b"", Reason.RESETTING)
    return SendResult(NdisStatus.LOW_POWER_STATE, b"", Reason.LOW_POWER)
