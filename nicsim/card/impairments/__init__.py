"""Ways in which a card misbehaves, each a thin card over a working one.

A test of a driver, of the host or of this project's own checks needs cards that fail: rows that are refused, lost or
late, keys that were loaded wrongly, frames that are passed without a check. Each class here stands between a driver
and a card, implements `nicsim.boundary.Card`, and spoils one thing on its way. What it does not spoil passes unseen.
They can be stacked; where none is, nothing is in the way. A card below may itself be impaired.

passing.py hands everything on; rows.py spoils what the driver writes, receive.py and send.py the frames; place.py
finds a row's ESP in a frame for these two. `number` is the N of the catalogue (`nicsim.impairments`), which says what
it counts and puts names to these.
"""
