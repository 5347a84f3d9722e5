"""Findings and sightings to flux networks: who belongs together, how big, which role, and where
the mothership is."""
