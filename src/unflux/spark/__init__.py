"""Reduce on a cluster: Spark hands files to workers and rows to their places, and computes nothing.

The workers run what one machine runs: `sources` and the core's `Reducer` (`kernel`). The driver
plans (`splits`), starts the jobs (`reading`) and goes on with the merged history as a scan of one
machine does. PySpark is imported when a session is opened (`session`), never before.
"""

from __future__ import annotations

from unflux.spark.options import SparkOptions

__all__ = ["SparkOptions"]
