"""The panel's commands: how each is written, what it does, an example, and what runs it. The table of contents.

Called by session.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicsim.panel import associations, control, frames, looking, requests
from nicsim.panel.answers import Answer, Usage
from nicsim.panel.state import Session

MANY = 1 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """One command. It is run with at least `least` and at most `most` words behind its name."""

    name: str
    usage: str
    about: str
    example: str
    run: Callable[[Session, list[str]], Answer]
    least: int = 0
    most: int = 0

    def shown(self) -> Usage:
        """The part that is for reading."""
        return Usage(self.name, self.usage, self.about, self.example)


ADD_USAGE = (
    "add sa spi=SPI src=ADDR dst=ADDR dir=in|out [mode=tunnel|transport] [encryption=NAME key=HEX [salt=HEX]] "
    "[integrity=NAME ikey=HEX] [ah=NAME ahkey=HEX [ahspi=SPI]] [udp=none|other|ike [port=N] [sport=N]] [esn=HIGH] "
    "[inner-src=NET] [inner-dst=NET] [portions=1|2] [version=1|2]"
)
ADD_ABOUT = (
    "offload one association: ESP, AH (ah= alone) or ESP with AH around it; esn= is the upper half of 64-bit sequence "
    "numbers, portions=2 says that its packets have a tunnel and a transport portion"
)
ADD_EXAMPLE = (
    "add sa spi=0x1001 src=198.51.100.7 dst=192.0.2.1 dir=in udp=other port=4500 "
    "integrity=HMAC_MD5_96 ikey=000102030405060708090a0b0c0d0e0f"
)

# fmt: off
COMMANDS: dict[str, Command] = {command.name: command for command in (
    # --- the NIC as a whole
    Command("profile", "profile", "what the card reports of itself", "profile", control.profile),
    Command("enable", "enable", "ask the card what it can do, and enable all of it", "enable", control.enable),
    Command("disable", "disable", "disable offload; associations stay", "disable", control.disable),
    Command("encapsulation", "encapsulation [ipv4=on|off|same] [ipv6=on|off|same] [link=NAME[,NAME]] [header=N]",
            "OID_OFFLOAD_ENCAPSULATION: offload on or off for each family, on which links",
            "encapsulation ipv4=on link=IEEE_802_3,IEEE_802_3_P_AND_Q", control.encapsulation, 1, 4),
    Command("parameters", "parameters [ipsec-v1=same|off|ah|esp|both] [ipsec-v2=same|off|ah|esp|both]",
            "OID_TCP_OFFLOAD_PARAMETERS: what each version may do at all", "parameters ipsec-v2=off",
            control.parameters, 1, 2),
    Command("filter", "filter none|NAME[,NAME]",
            "OID_GEN_CURRENT_PACKET_FILTER: directed, multicast, all-multicast, broadcast, promiscuous",
            "filter directed,broadcast", control.packet_filter, 1, 1),
    Command("reset", "reset", "reset the NIC; its driver restores the tables", "reset", control.reset),
    Command("power", "power D0|D1|D2|D3", "set the power state", "power D3", control.power, 1, 1),
    Command("remove", "remove", "take the NIC out of the machine; everything on it is deleted", "remove",
            control.remove),
    Command("impair", "impair [none|NAME[=N]...]",
            "have card or driver misbehave from now on (nicsim impairments lists how), stop it, or say what is on",
            "impair row-write-fails=2 drops-failed", control.impair, 0, 100),
    # --- associations
    Command("add", ADD_USAGE, ADD_ABOUT, ADD_EXAMPLE, associations.add, 1, MANY),
    Command("load", "load SAFILE local=ADDR [as=ADDR] [port=N] [mode=tunnel|transport] [udp=none|other|ike]",
            "offload the associations of a file that begin or end at ADDR; as= and port= where a NAT changed them",
            "load traces/natt-3des-md5-server.sas.json local=203.0.113.2", associations.load, 1, 6),
    Command("update", "update HANDLE|SPI high=N", "tell the NIC the upper half of the sequence numbers (version 2)",
            "update 0x1001 high=1", associations.update, 2, 2),
    Command("delete", "delete HANDLE|SPI", "take an association off the NIC", "delete 0x1001", associations.delete,
            1, 1),
    # --- requests
    Command("query", "query OID_NAME", "a query request, its answer decoded",
            "query OID_TCP_OFFLOAD_CURRENT_CONFIG", requests.query, 1, 1),
    Command("oid", "oid OID_NAME HEXFILE|0xHEX [--show-keys]", "a raw set request, its answer decoded",
            "oid OID_TCP_TASK_IPSEC_DELETE_SA request.txt", requests.set_oid, 2, 3),
    Command("poll", "poll", "what NDIS told the host by itself: completions, indications of status; lets time pass",
            "poll", requests.poll),
    # --- frames
    Command("feed", "feed CAPTURE FRAME|all", "frames of a capture, off the wire into the NIC",
            "feed traces/natt-3des-md5-server.pcap 13", frames.feed, 2, 2),
    Command("frame", "frame HEX", "one Ethernet frame off the wire", "frame ffffffffffff...", frames.frame, 1, MANY),
    Command("seal", "seal HANDLE|SPI [tunnel=HANDLE|SPI] [next=N] [seq=N] HEX",
            "a payload of the host: framed as the transport does it, sealed by the NIC; tunnel= seals it once more",
            "seal 0x2002 68656c6c6f", frames.seal, 1, MANY),
    Command("send", "send HANDLE|SPI [tunnel=HANDLE|SPI] HEX",
            "one frame of the host, framed and padded already, for the NIC to seal", "send 0x2002 ffffffffffff...",
            frames.send, 2, MANY),
    # --- looking
    Command("dump", "dump [sas|parser|stats|all] [--show-keys]", "the tables", "dump sas", looking.dump, 0, 2),
    Command("counters", "counters", "what happened so far", "counters", looking.counters),
    Command("mark", "mark NAME", "keep this moment under a name", "mark before", looking.mark, 1, 1),
    Command("diff", "diff NAME [NAME]", "what lies between two moments, or one and now", "diff before", looking.diff,
            1, 2),
    Command("quit", "quit", "end the session", "quit", looking.leave),
)}
# fmt: on
