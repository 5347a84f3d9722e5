"""unflux: detect, track, map and block fast-flux DNS networks."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("unflux")
except PackageNotFoundError:  # run from a source tree that is not installed
    from unflux._native import __version__ as __version__
