"""Variables that the libraries read by themselves, judged before anything is called."""

from pathlib import Path

import certifi
import pytest

from executor.contract.network import network_problems
from executor.settings import read_settings
from shared.settings import SettingsInvalid


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SSL_CERT_FILE": certifi.where()},
        {"SSL_CERT_DIR": "/"},
        {"HTTPS_PROXY": "http://proxy.local:3128"},
        {"https_proxy": "proxy.local:3128"},
        {"ALL_PROXY": "https://user:pass@proxy.local", "HTTP_PROXY": ""},
    ],
)
def test_what_a_connection_can_be_made_with_is_no_problem(environ: dict[str, str]) -> None:
    assert list(network_problems(environ)) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/nonexistent/canary"),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nonexistent/canary"),
        ("ALL_PROXY", "socks5://canary:1080"),
        ("HTTPS_PROXY", "socks4://canary"),
        ("http_proxy", "ftp://canary"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", "http://canary:99999"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_variable(variable: str, value: str) -> None:
    [problem] = network_problems({variable: value})

    assert problem.startswith(f"{variable} must ")
    assert "canary" not in problem


def test_it_stops_the_function_at_start_up_with_all_the_others(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"GCP_PROJECT is required.*SSL_CERT_FILE must"):
        read_settings({"SSL_CERT_FILE": str(tmp_path / "none")})
