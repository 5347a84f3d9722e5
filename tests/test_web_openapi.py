"""What the OpenAPI description says holds: schemathesis asks every operation, well and badly."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings

schemathesis = pytest.importorskip("schemathesis")

from schemathesis.specs.openapi.checks import ignored_auth  # noqa: E402

from unflux.web.app import create_app  # noqa: E402
from unflux.web.settings import Limits, Settings  # noqa: E402
from unflux.web.store import Store  # noqa: E402
from web_site import World  # noqa: E402

pytest_plugins = ["web_site"]
SLOW = ("stream", "/export/")
"""The stream does not end; exports are asked one by one in test_web_api."""


@pytest.fixture
def described(world: World, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("openapi")
    url = f"sqlite:///{folder / 'x.sqlite'}"
    store = Store(url)
    from unflux.web import judging

    judging.judge(store, judging.scan_of(world.dataset), world.options)
    limits = Limits(requests_per_s=0, uploads=0)
    made = Settings(url, folder, dataset=world.dataset, scan=world.options, limits=limits)
    app = create_app(made, store)
    return schemathesis.openapi.from_asgi(
        "/openapi.json", app, headers={"Host": "127.0.0.1:8053"}
    )


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_does_what_it_says(case) -> None:
    if any(part in case.operation.path for part in SLOW):
        pytest.skip("see SLOW")
    # Nobody needs a token here; who does is in test_web_api.
    case.call_and_validate(headers={"Host": "127.0.0.1:8053"}, excluded_checks=[ignored_auth])


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
