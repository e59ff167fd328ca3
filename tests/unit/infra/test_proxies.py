"""A network proxy is not used for addresses on this machine."""

import pytest

from infra.local.serving.loopback import bypass_proxies


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"no_proxy": "corp.example, localhost"}, "corp.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_this_machine_is_added_to_what_goes_by_no_proxy(
    before: dict[str, str], after: str
) -> None:
    environ = {"http_proxy": "http://127.0.0.1:9", **before}

    bypass_proxies(environ)
    bypass_proxies(environ)

    assert environ["no_proxy"] == after
    assert "no_grpc_proxy" not in environ


def test_grpcs_own_variable_is_widened_where_it_is_set() -> None:
    environ = {"no_grpc_proxy": "a", "NO_PROXY": "b"}

    bypass_proxies(environ)

    assert environ["no_grpc_proxy"] == "a,127.0.0.1,localhost,::1"
    assert environ["NO_PROXY"] == "b,127.0.0.1,localhost,::1"
