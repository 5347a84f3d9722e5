"""What the OpenAPI description says holds: schemathesis asks every operation, well and badly."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from unflux.web import judging  # noqa: E402
from unflux.web.app import create_app  # noqa: E402
from unflux.web.buckets import Buckets  # noqa: E402
from unflux.web.settings import Limits, Settings  # noqa: E402
from unflux.web.store import Store  # noqa: E402
from web_site import World  # noqa: E402

pytest_plugins = ["web_site"]
SLOW = ("stream", "/export/")
"""The stream does not end; exports are asked one by one in test_web_api."""


LEFT_OUT = [ignored_auth, negative_data_rejection, positive_data_acceptance]
"""Nobody needs a token here, so a request without one is not refused; and a search line may be
wrong although it is a string. What is refused is in test_web_api."""
HOST = {"Host": "127.0.0.1:8053"}
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(scope="module")
def operations(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every operation of a site over the world, by name."""
    folder = tmp_path_factory.mktemp("openapi")
    url = f"sqlite:///{folder / 'x.sqlite'}"
    store = Store(url)
    judging.judge(store, judging.scan_of(world.dataset), world.options)
    limits = Limits(requests_per_s=0, uploads=0)
    app = create_app(
        Settings(url, folder, dataset=world.dataset, scan=world.options, limits=limits), store
    )
    app.state.site.failed_logins = Buckets(1e9, 10**9)  # wrong tokens are tried on purpose
    described = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)
    found = (result.ok() for result in described.get_all_operations())
    return {f"{one.method.upper()} {one.path}": one for one in found}


def test_every_operation_does_what_it_says(operations: dict[str, Any]) -> None:
    assert len(operations) > 20
    for name, operation in operations.items():
        if any(part in name for part in SLOW):
            continue
        for mode in MODES:
            _ask(operation, mode)


def _ask(operation: Any, mode: Any) -> None:
    try:
        cases = operation.as_strategy(generation_mode=mode)
    except Exception as error:  # nothing of this operation can be asked wrongly
        assert mode is GenerationMode.NEGATIVE, error
        return

    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        # (who needs a token is in test_web_api)
        case.call_and_validate(headers=HOST, excluded_checks=LEFT_OUT)

    with suppress(Unsatisfiable):  # an operation without parameters cannot be asked wrongly
        ask()


def test_the_description_is_openapi_3_1_with_examples(world: World, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    app = create_app(Settings(url, tmp_path), Store(url))
    with TestClient(app, base_url="http://127.0.0.1") as one:
        described = one.get("/openapi.json").json()
        assert one.get("/docs").status_code == 404, "its page would fetch scripts from elsewhere"
    assert described["openapi"].startswith("3.1")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), (method, path)
            if path.startswith("/api/"):
                assert {"401", "403", "422", "429"} <= set(operation["responses"]), (method, path)
    assert "c2.mother.test" in str(described["components"]["schemas"]["Row"])
