"""The steps of a scenario, put on the clock of its network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nicsim.errors import InputError
from nicsim.host.host import Host
from nicsim.host.ike.config import Connection
from nicsim.network.events import Noted
from nicsim.network.router import Router
from nicsim.network.tracepath import Tracepath
from nicsim.scenario.model import (
    CloseStep,
    ConnectStep,
    DeleteStep,
    KeepaliveStep,
    OvertakeStep,
    RekeyStep,
    RestartStep,
    SendStep,
    Step,
    TracepathStep,
)
from nicsim.scenario.overtaking import overtake
from nicsim.scenario.stage import Stage
from nicsim.wire.esp import KEEPALIVE


def plan(stage: Stage, steps: Iterable[Step]) -> None:
    """Have every step happen at its time. Raises InputError for what its node cannot do."""
    for step in steps:
        _plan(stage, step)


def _plan(stage: Stage, step: Step) -> None:
    """Put a step on the clock."""
    clock = stage.network.clock
    if isinstance(step, SendStep | KeepaliveStep):
        for number in range(step.times):
            clock.at(step.at + number * step.every, _sending(stage, step))
    elif isinstance(step, RestartStep):
        router = stage.node(step.node)
        if not isinstance(router, Router):
            raise InputError(f"the node {step.node} needs to be a NAT to be restarted")
        clock.at(step.at, router.restart)
    elif isinstance(step, TracepathStep):
        clock.at(step.at, _tracing(stage, step))
    elif isinstance(step, OvertakeStep):
        node = stage.nic_host(step.node)
        clock.at(step.at, lambda: overtake(node))
    else:
        clock.at(step.at, _negotiating(stage, step))


def _negotiating(stage: Stage, step: ConnectStep | RekeyStep | DeleteStep | CloseStep) -> Callable[[], None]:
    """What a host's IKE daemon is asked to do."""
    node = stage.nic_host(step.node)
    host, clock = node.host, stage.network.clock
    if isinstance(step, ConnectStep):
        connection = _connection(host, step)
        return lambda: node.asked(lambda: host.initiate(clock.now, connection))
    if isinstance(step, CloseStep):
        return lambda: node.asked(lambda: host.close(clock.now))
    act = host.rekey if isinstance(step, RekeyStep) else host.delete

    def on_newest() -> None:
        newest = max(host.associations.pairs, default=0)
        if newest > 0:
            node.asked(lambda: act(clock.now, newest))
        else:
            stage.network.tell(Noted(clock.now, step.node, f"there is nothing to {step.do}"))

    return on_newest


def _connection(host: Host, step: ConnectStep) -> Connection:
    connections = host.config.ike.connections
    for one in connections:
        if step.connection in (None, one.name):
            return one
    raise InputError(f"{step.node} needs a connection {step.connection or ''} to bring up")


def _sending(stage: Stage, step: SendStep | KeepaliveStep) -> Callable[[], None]:
    host, target = stage.stack(step.source), stage.address(step.to)
    data = KEEPALIVE if isinstance(step, KeepaliveStep) else step.data.encode().ljust(step.length, b"\0")
    return lambda: host.send_udp(target, step.source_port, step.port, data)


def _tracing(stage: Stage, step: TracepathStep) -> Callable[[], None]:
    host, target = stage.stack(step.source), stage.address(step.to)
    trace = stage.traces[step.source] = Tracepath(host, target)
    return trace.start
