"""A NIC written again in the plainest way, from the documentation: lists, dicts, one question after another.

It shares nothing with nicsim, not even the structures: `requests` reads buffers with `struct` at the offsets of a C
compiler, `packets` takes frames apart and opens them with the plain ESP of `tests.oracle_esp`, `claims` says what a
card may be asked for. `state` holds what a NIC should know, `answers` what requests may be answered with and do to it,
`nic` what becomes of frames.
"""

from tests.oracle_nic.nic import OracleNic
from tests.oracle_nic.packets import Layer, Outcome, Sa

__all__ = ["Layer", "OracleNic", "Outcome", "Sa"]
