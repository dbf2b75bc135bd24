"""Every impairment is noticed: a table of names and of the stories (impairment_stories.py) that each spoils.

The unimpaired NIC passes every story.
"""

import re
from contextlib import suppress

import pytest

from nicsim.boundary import UdpType
from nicsim.errors import InputError, NicsimError, RuleBroken
from nicsim.host.offloader import InSoftware, LinkMedium
from nicsim.impairments import (
    BY_NAME,
    CATALOGUE,
    Boundary,
    Impairment,
    Number,
    impaired_card,
    impaired_driver,
    impaired_ivs,
    impairment,
)
from nicsim.impairments import parse_impairment as parse
from nicsim.ipsec.transforms import SaKeys
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.rules import rule_texts
from nicsim.wire.packet import parse_frame
from offload_oids import Oid
from tests.builders import (
    AES,
    PAYLOAD,
    TCP,
    TRIPLE_DES,
    association,
    decrypted_in_place,
    esp_frame,
    handed_down,
    sealed,
)
from tests.impairment_stories import (
    FIRST,
    OPENED,
    OUTBOUND,
    SECOND,
    UNTOUCHED,
    Bench,
    Maker,
    Probe,
    a_bad_icv_is_told_and_nothing_changed,
    a_checksum_is_completed_before_the_packet_is_sealed,
    a_delete_of_nothing_is_refused,
    a_delete_takes_one_association_and_the_last_one_the_parser_entry,
    a_fragment_is_left_alone,
    a_keepalive_is_left_alone,
    a_large_send_is_cut_into_packets_that_each_stand_alone,
    a_packet_on_port_500_is_opened,
    a_right_checksum_is_told_as_right,
    a_sent_frame_is_sealed_with_the_iv_given,
    a_short_buffer_is_refused_with_the_length_needed,
    a_version_2_packet_is_opened,
    a_wrong_checksum_is_told,
    an_add_is_done_at_once,
    an_unknown_handle_sends_nothing,
    another_hosts_packet_is_left_alone,
    associations_outlive_a_reset_and_low_power,
    associations_share_their_address,
    enabling_indicates_the_current_configuration,
    every_association_has_a_handle_of_its_own,
    extended_sequence_numbers_count,
    good_packets_are_opened_in_place,
    ike_is_left_alone,
    no_two_ivs_are_equal,
    nothing_happens_after_disabling,
    nothing_happens_before_enabling,
    of_a_list_those_with_room_are_added,
    options_not_claimed_are_left_alone,
    other_frames_are_left_alone,
    replays_as_expected,
    the_capacity_reported_is_there,
    the_tables_hold_what_they_have_room_for,
    the_udp_checksum_does_not_matter,
    the_upper_half_can_be_updated,
    two_adds_without_an_entry_share_one,
    what_is_answered_at_once_is_not_completed_again,
)

# --- which story notices what --------------------------------------------------------------------------------------

OPENS, DELETES, SENDS = (
    good_packets_are_opened_in_place,
    a_delete_takes_one_association_and_the_last_one_the_parser_entry,
    a_sent_frame_is_sealed_with_the_iv_given,
)
# fmt: off
NOTICED_BY: dict[str, tuple[Probe, ...]] = {
    "row-write-fails":            (OPENS, SENDS, a_version_2_packet_is_opened),
    "row-write-lost":             (OPENS, SENDS, a_version_2_packet_is_opened),
    "row-write-slow":             (an_add_is_done_at_once,),
    "row-write-never-done":       (OPENS, SENDS, replays_as_expected),
    "row-clear-fails":            (DELETES,),
    "row-clear-lost":             (DELETES,),
    "stale-row":                  (DELETES,),
    "tables-lost-on-reset":       (associations_outlive_a_reset_and_low_power,),
    "parser-row-lost":            (OPENS, a_version_2_packet_is_opened),
    "parser-row-wrong-port":      (OPENS, a_version_2_packet_is_opened),
    "parser-row-wrong-type":      (OPENS, a_packet_on_port_500_is_opened),
    "port-bytes-swapped":         (OPENS, a_packet_on_port_500_is_opened),
    "marker-not-skipped":         (a_packet_on_port_500_is_opened,),
    "spi-bytes-swapped":          (OPENS, SENDS, replays_as_expected),
    "keys-swapped":               (OPENS, SENDS, replays_as_expected),
    "key-truncated":              (OPENS, SENDS, replays_as_expected),
    "esn-high-missing":           (extended_sequence_numbers_count,),
    "address-row-wrong":          (associations_share_their_address,),
    "destination-ignored":        (another_hosts_packet_is_left_alone,),
    "on-before-enabling":         (nothing_happens_before_enabling,),
    "on-after-disabling":         (nothing_happens_after_disabling,),
    "options-always":             (options_not_claimed_are_left_alone,),
    "success-without-check":      (OPENS, a_bad_icv_is_told_and_nothing_changed, replays_as_expected),
    "success-on-bad-icv":         (a_bad_icv_is_told_and_nothing_changed,),
    "error-on-good":              (OPENS, replays_as_expected),
    "icv-unchecked":              (a_bad_icv_is_told_and_nothing_changed,),
    "portions-exchanged":         (a_bad_icv_is_told_and_nothing_changed,),
    "generic-error":              (a_bad_icv_is_told_and_nothing_changed,),
    "next-without-done":          (OPENS, a_bad_icv_is_told_and_nothing_changed),
    "next-done-always":           (OPENS, a_version_2_packet_is_opened),
    "checksum-flags-exchanged":   (a_right_checksum_is_told_as_right,),
    "never-done":                 (OPENS, replays_as_expected),
    "strips-esp":                 (OPENS, replays_as_expected),
    "last-block-left":            (OPENS, replays_as_expected),
    "payload-corrupted":          (OPENS, replays_as_expected),
    "hop-limit-lowered":          (OPENS,),
    "ike-taken-for-esp":          (ike_is_left_alone,),
    "udp-checksum-decides":       (the_udp_checksum_does_not_matter,),
    "fragments-as-whole":         (a_fragment_is_left_alone,),
    "iv-all-zero":                (SENDS, no_two_ivs_are_equal, replays_as_expected),
    "iv-repeated":                (no_two_ivs_are_equal, replays_as_expected),
    "icv-not-written":            (SENDS, replays_as_expected),
    "spi-wrong-on-send":          (SENDS, replays_as_expected),
    "plaintext-sent":             (SENDS, replays_as_expected),
    "pads-again":                 (SENDS, replays_as_expected),
    "padding-corrupted":          (SENDS,),
    "segments-same-sequence":     (a_large_send_is_cut_into_packets_that_each_stand_alone,),
    "segment-checksum-wrong":     (a_large_send_is_cut_into_packets_that_each_stand_alone,),
    "segments-all-end":           (a_large_send_is_cut_into_packets_that_each_stand_alone,),
    "last-segment-lost":          (a_large_send_is_cut_into_packets_that_each_stand_alone,),
    "checksum-not-filled":        (a_checksum_is_completed_before_the_packet_is_sealed,),
    "checksum-always-good":       (a_wrong_checksum_is_told,),
    "table-full-early":           (the_tables_hold_what_they_have_room_for, DELETES),
    "good-buffer-refused":        (OPENS, SENDS, a_version_2_packet_is_opened),
    "bad-buffer-accepted":        (a_short_buffer_is_refused_with_the_length_needed, a_delete_of_nothing_is_refused),
    "bytes-needed-wrong":         (a_short_buffer_is_refused_with_the_length_needed,),
    "handle-zero":                (SENDS, DELETES, every_association_has_a_handle_of_its_own),
    "handle-wrong":               (SENDS, DELETES),
    "handle-reused":              (DELETES, every_association_has_a_handle_of_its_own),
    "list-all-failed":            (of_a_list_those_with_room_are_added,),
    "null-handle-forgotten":      (of_a_list_those_with_room_are_added,),
    "update-ignored":             (the_upper_half_can_be_updated,),
    "delete-ignored":             (DELETES, a_delete_of_nothing_is_refused),
    "delete-takes-neighbour":     (DELETES,),
    "parser-entry-deleted-early": (DELETES,),
    "parser-entry-never-deleted": (DELETES,),
    "second-parser-entry":        (two_adds_without_an_entry_share_one,),
    "completes-twice":            (what_is_answered_at_once_is_not_completed_again,),
    "never-completes":            (OPENS, replays_as_expected),
    "status-not-indicated":       (enabling_indicates_the_current_configuration,),
    "capacity-overstated":        (the_capacity_reported_is_there,),
    "drops-failed":               (a_bad_icv_is_told_and_nothing_changed,),
    "drops-short":                (a_keepalive_is_left_alone,),
    "drops-frames":               (OPENS, other_frames_are_left_alone, replays_as_expected),
    "keepalive-swallowed":        (a_keepalive_is_left_alone,),
    "ike-swallowed":              (ike_is_left_alone,),
    "delete-requested":           (OPENS,),
    "word-too-short":             (OPENS, ike_is_left_alone, replays_as_expected),
    "word-of-frame-before":       (OPENS, other_frames_are_left_alone),
    "unknown-handle-sent":        (an_unknown_handle_sends_nothing,),
    "handle-ignored":             (SENDS, replays_as_expected),
}
# fmt: on
PROBES = {probe.__name__: probe for probes in NOTICED_BY.values() for probe in probes}
PAIRS = [(name, probe) for name, probes in NOTICED_BY.items() for probe in probes]


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_every_story_holds_without_impairments(probe: Probe) -> None:
    probe(Maker())


@pytest.mark.parametrize(("name", "probe"), PAIRS, ids=[f"{name}-{probe.__name__}" for name, probe in PAIRS])
def test_every_impairment_is_noticed_by_each_of_its_stories(name: str, probe: Probe) -> None:
    with pytest.raises((AssertionError, NicsimError)):
        probe(Maker(impairment(name)))


def test_every_impairment_has_a_story_that_notices_it() -> None:
    assert set(NOTICED_BY) == set(BY_NAME)
    assert len(CATALOGUE) == len(BY_NAME) >= 60


# --- beside the stories --------------------------------------------------------------------------------------------


# fmt: off
MONITORED: dict[str, Probe] = {
    "handle-zero":                every_association_has_a_handle_of_its_own,
    "handle-reused":              every_association_has_a_handle_of_its_own,
    "list-all-failed":            of_a_list_those_with_room_are_added,
    "null-handle-forgotten":      of_a_list_those_with_room_are_added,
    "delete-ignored":             DELETES,
    "delete-takes-neighbour":     DELETES,
    "parser-entry-never-deleted": DELETES,
    "second-parser-entry":        two_adds_without_an_entry_share_one,
    "completes-twice":            what_is_answered_at_once_is_not_completed_again,
}
# fmt: on


@pytest.mark.parametrize("name", MONITORED)
def test_the_rule_monitor_notices_too(name: str) -> None:
    with pytest.raises(RuleBroken):
        MONITORED[name](Maker(impairment(name), monitor=True))


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_the_rule_monitor_has_nothing_to_say_without_impairments(probe: Probe) -> None:
    probe(Maker(monitor=True))


@pytest.mark.parametrize("one", CATALOGUE, ids=[one.name for one in CATALOGUE])
def test_every_entry_is_complete(one: Impairment) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", one.name)
    assert one.story.endswith(".")
    assert "\n" not in one.story
    assert one.rules
    assert set(one.rules) <= set(rule_texts())
    assert [one.card, one.driver, one.ivs].count(None) == 2
    assert one.boundary is (Boundary.MINIPORT if one.driver else Boundary.CARD)
    assert (" N" in one.story) <= (one.number is not Number.NONE)


def test_nothing_is_in_the_way_where_nothing_is_impaired() -> None:
    nic = Nic(load_profile("reference"), iv_source=bytes)
    assert impaired_card(nic.card, (), 1) is nic.card
    assert impaired_driver(nic.driver, ()) is nic.driver
    assert impaired_ivs(bytes, ()) is bytes


def test_they_can_be_stacked() -> None:
    bench = Bench(
        [impairment("drops-failed"), impairment("error-on-good", 2), impairment("hop-limit-lowered")], [FIRST]
    )
    frame = esp_frame(FIRST)
    lowered, word = bench.receive(frame)
    assert (lowered[22], word) == (frame[22] - 1, OPENED)
    assert bench.receive(frame) == (b"", UNTOUCHED)  # an error of the card, which the driver drops
    assert bench.receive(frame)[1] == OPENED


def test_the_nth_time_and_every_nth_time() -> None:
    once = Bench([impairment("row-write-fails", 3)], [association(udp_type=UdpType.NATIVE)])
    once.add(association(0x1003, udp_type=UdpType.NATIVE))
    assert isinstance(once.offloader.add(association(0x1004, udp_type=UdpType.NATIVE)), InSoftware)
    once.add(association(0x1005, udp_type=UdpType.NATIVE))
    every = Bench([impairment("handle-zero", 2)], [FIRST, SECOND, OUTBOUND, association(0x2002, inbound=False)])
    assert [bool(one.handle) for one in every.offloaded] == [True, False, True, False]


@pytest.mark.rule("N-OID-6")
def test_a_host_that_waits_gets_along_with_slow_rows() -> None:
    bench = Bench([impairment("row-write-slow", 5)], [FIRST, SECOND, OUTBOUND], monitor=True)
    bench.opens(FIRST)
    bench.opens(SECOND)
    assert bench.send(handed_down(OUTBOUND), 2) != handed_down(OUTBOUND)


@pytest.mark.rule("N-RX-8")
def test_a_stripped_frame_holds_headers_and_payload_only() -> None:
    frame = esp_frame(FIRST)
    assert Bench([impairment("strips-esp")], [FIRST]).receive(frame) == (frame[:42] + PAYLOAD, OPENED)


def test_an_unchecked_packet_is_decrypted() -> None:
    esp = sealed(FIRST)
    frame = esp_frame(FIRST, esp[:-1] + bytes([esp[-1] ^ 1]))
    expected = decrypted_in_place(frame, esp[:-1], FIRST, PAYLOAD, TCP) if esp[:-1] in frame else b""
    assert Bench([impairment("icv-unchecked")], [FIRST]).receive(frame) == (expected, OPENED)


@pytest.mark.parametrize("sa_keys", [AES, TRIPLE_DES])
@pytest.mark.parametrize("ipv6", [False, True])
def test_a_frame_padded_again_can_be_opened_and_is_longer(sa_keys: SaKeys, ipv6: bool) -> None:
    udp_type = UdpType.NATIVE if ipv6 else UdpType.OTHER
    sa = association(sa_keys=sa_keys, udp_type=udp_type, inbound=False, ipv6=ipv6)
    bench = Bench([impairment("pads-again")], [sa], "reference")
    framed = handed_down(sa)
    sent = bench.send(framed)
    assert len(sent) == len(framed) + 16
    packet = parse_frame(sent)
    assert packet.end == len(sent)
    start = packet.udp_payload if udp_type else packet.payload
    assert sa.open(sent, start, packet.udp_end if udp_type else packet.end)[: len(PAYLOAD)] == PAYLOAD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row-write-fail", "near it are row-write-fails"),
        ("ROW_WRITE_LOST", "near it are row-write-lost"),
        ("xyzzy", "nicsim impairments lists them"),
        ("row-write-fails=0", "needs to be 1 or more, not 0"),
        ("row-write-fails=", "needs to be a number, not ''"),
        ("row-write-fails=-1", "needs to be a number, not '-1'"),
        ("row-write-fails=two", "needs to be a number, not 'two'"),
        ("keys-swapped=2", "takes no N"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_with_its_number_reads_back() -> None:
    assert parse("row-write-fails=3") == impairment("row-write-fails", 3)
    assert [str(parse(text)) for text in ("row-write-fails=3", "drops-short", "keys-swapped")] == [
        "row-write-fails=3",
        "drops-short=60",
        "keys-swapped",
    ]


@pytest.mark.parametrize("one", CATALOGUE, ids=[one.name for one in CATALOGUE])
def test_hostile_frames_and_buffers_make_no_other_error(one: Impairment) -> None:
    """Whatever passes an impaired NIC gives a value or an error of our own, also with the next one stacked upon it."""
    above = CATALOGUE[(CATALOGUE.index(one) + 7) % len(CATALOGUE)]
    bench = Bench([impairment(one.name), impairment(above.name)], capabilities="reference", enabled=False)
    with suppress(NicsimError):
        bench.offloader.enable(LinkMedium.ETHERNET)
    for sa in (FIRST, association(sa_keys=AES, spi=0x1003), OUTBOUND):
        with suppress(NicsimError):
            bench.offloader.add(sa)
    for oid in Oid:
        for length in (0, 3, 8, 16, 60, 300):
            for fill in (0, 1, 0xFF):
                with suppress(NicsimError):
                    bench.set(oid, bytes([fill]) * length)
    frame = esp_frame(FIRST)
    for end in range(0, len(frame) + 1, 3):
        with suppress(NicsimError):
            bench.receive(frame[:end])
            bench.receive(frame[:end] + bytes(len(frame) - end))
