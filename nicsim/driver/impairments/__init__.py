"""Ways in which a driver misbehaves, each a thin miniport over a working one.

Each class stands between NDIS and a driver, implements `nicsim.boundary.Miniport`, and spoils one thing: a handle, a
status, a completion, an out-of-band word. None has any logic of a driver, so any driver can be spoiled like that. They
can be stacked. Answers are spoiled where the driver gives them at once; those that pend pass as they are.

passing.py hands everything on; adding.py and deleting.py spoil the requests for associations, reports.py completions
and what the driver says of itself, frames.py both directions of traffic. `number` is the N of the catalogue
(`nicsim.impairments`), which says what it counts and puts names to these.
"""
