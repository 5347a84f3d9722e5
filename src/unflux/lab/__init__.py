"""The emulated flux world: a pure model, and what plays it on a virtual clock.

Only for reserved addresses (198.18.0.0/15, 2001:db8::/32) and names under `.test` and `.example`;
everything else is refused when a scenario is read.
"""
