"""The model: what every server of the emulated world answers at any time. No socket, no clock.

(scenario, seed, time) decides everything. `plan` gives addresses their ASes and countries,
`population` lets hosts come and go, `services` turn them into rrsets, `world` puts names, zones
and clients together, `cache` is the resolver between both.
"""
