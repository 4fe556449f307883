"""The configuration of networks and their gateways, and of traffic policies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from registry.config import Config, load
from registry.errors import ConfigError
from registry.index.gateways import NetworkRule
from registry.model.gateways import Gateway
from registry.model.names import Locality
from registry.views.policy import Distribution, Fallback, PolicyRule, Selector

FULL = """\
networks:
  - name: net-a
    gatewayPort: 8443
  - name: net-b
    gateways:
      - {address: 203.0.113.1, port: 15443, region: us, zone: us-1}
      - {address: "2001:DB8::0:1", port: 443}
traffic:
  - namespace: shop
    name: "e*"
    distribution: WeightedByLocality
    failover: [{cluster: a}, {region: eu, labels: {tier: gold}}]
    fallback: None
  - distribution: PreferSameZone
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.yaml"


def test_networks_and_policies_are_read(path: Path) -> None:
    path.write_text(FULL)
    config = load(path)
    assert config.network_rules() == {
        "net-a": NetworkRule(port=8443),
        "net-b": NetworkRule(
            (Gateway("203.0.113.1", 15443, Locality("us", "us-1")), Gateway("2001:db8::1", 443, Locality()))
        ),
    }
    selectors = (Selector(cluster="a"), Selector(region="eu", labels=(("tier", "gold"),)))
    assert config.policy_rules() == (
        PolicyRule("shop", "e*", Distribution.WEIGHTED, selectors, Fallback.NONE),
        PolicyRule(distribution=Distribution.PREFER_SAME_ZONE),
    )


def test_without_a_word_there_are_none() -> None:
    assert (Config().network_rules(), Config().policy_rules()) == ({}, ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("networks: [{name: n, gateways: [{address: gw.example.org, port: 1}]}]", "host names are not resolved"),
        ("networks: [{name: n, gateways: [{address: 203.0.113.1, port: 0}]}]", "expected a port from 1 to 65535"),
        ("networks: [{name: n, gateways: [{address: 203.0.113.1}]}]", "missing required field `port`"),
        ("networks: [{name: n, gatewayPort: 70000}]", "networks[0].gatewayPort: expected a port"),
        ("networks: [{name: n}, {name: n}]", "networks[1].name: expected a name that no other entry has, got 'n'"),
        ('networks: [{name: ""}]', "networks[0].name: expected a name"),
        ("networks: [{name: n, gateway: []}]", "did you mean 'gateways'?"),
        ("traffic: [{failover: [{}]}]", "traffic[0].failover[0]: expected a cluster, region, zone or labels"),
        ("traffic: [{distribution: Nearby}]", "traffic[0].distribution"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: Path, text: str, says: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"registry.yaml:1: .*{re.escape(says)}"):
        load(path)
