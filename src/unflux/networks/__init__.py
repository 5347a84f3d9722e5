"""Findings and sightings to flux networks: who belongs together, how big, which role, and where
the mothership is."""

from __future__ import annotations

from unflux.networks.build import find_networks
from unflux.networks.model import Network, Networks

__all__ = ["Network", "Networks", "find_networks"]
