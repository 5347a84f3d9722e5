"""A Spark session, or the sentence that says why there is none."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from unflux.errors import Unavailable, UnfluxError
from unflux.spark.options import SparkOptions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DEFAULTS = {
    "spark.app.name": "unflux",
    "spark.log.level": "ERROR",
    # The merged history is what the driver is there for; its memory is the bound.
    "spark.driver.maxResultSize": "0",
    # Rows that pass through Spark are few and large: a part of a history each.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "8",
    # Each part is of a size that was chosen; Spark would put small ones together.
    "spark.sql.adaptive.enabled": "false",
}


def missing() -> str | None:
    """What has to be installed before Spark can be used, as a sentence; None when all is there."""
    if find_spec("pyspark") is None or find_spec("pandas") is None:
        return "--engine spark needs PySpark: pip install 'unflux[spark]'"
    home = os.environ.get("JAVA_HOME")
    if not (home and shutil.which("java", path=f"{home}/bin")) and shutil.which("java") is None:
        return "Spark needs Java 17 or newer, which is not here: install it or set JAVA_HOME"
    return None


@contextmanager
def session(options: SparkOptions) -> Iterator[SparkSession]:
    """The session that is open already, or a new one that ends with the block.

    Raises
    ------
    Unavailable
        When PySpark or Java is missing, or the cluster does not answer.
    UnfluxError
        When a job fails on the cluster.
    """
    lacking = missing()
    if lacking:
        raise Unavailable(lacking)
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    open_already = SparkSession.getActiveSession()
    try:
        spark = open_already or _start(options)
    except (PySparkException, Py4JError) as error:
        raise Unavailable(f"Spark does not start: {_first_cause(error)}") from None
    try:
        yield spark
    except (PySparkException, Py4JError) as error:
        raise UnfluxError(f"Spark gave up: {_first_cause(error)}") from None
    finally:
        if open_already is None:
            spark.stop()


def _start(options: SparkOptions) -> SparkSession:
    from pyspark.sql import SparkSession

    # Workers run this interpreter unless told otherwise: their python3 has no unflux.
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # spark-submit has told
        python = options.conf.get("spark.pyspark.python", sys.executable)
        os.environ.setdefault("PYSPARK_PYTHON", python)
    builder = SparkSession.builder
    if options.master is not None:
        builder = builder.master(options.master)
    progress = {"spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower()}
    return builder.config(map=DEFAULTS | progress | options.conf).getOrCreate()


def _first_cause(error: Exception) -> str:
    """The line that says what went wrong, out of the traces of two languages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    python = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    named = [line for line in python if not line.startswith(("org.", "java.", "py4j."))]
    return (named or python or lines or [type(error).__name__])[0]
