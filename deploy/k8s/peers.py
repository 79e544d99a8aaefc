"""Addresses outside the cluster's pods, as network policies name them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any


class ValuesError(RuntimeError):
    """The values file cannot be used."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An IP range and its TCP ports."""

    cidr: str
    ports: tuple[int, ...]

    def __post_init__(self) -> None:
        require_range(self.cidr)
        if not self.ports or not all(0 < port < 65536 for port in self.ports):
            raise ValuesError(f"expected TCP ports from 1 to 65535 for {self.cidr}, but got {list(self.ports)}")


def require_range(cidr: str) -> None:
    """Raise a ValuesError where a text is no IP range."""
    try:
        ipaddress.ip_network(cidr)
    except ValueError as e:
        raise ValuesError(f"expected an IP range such as 192.0.2.10/32, but got {cidr!r}") from e


def rule_to(peer: Peer) -> dict[str, Any]:
    """Return the egress rule of a network policy for these addresses."""
    return {
        "to": [{"ipBlock": {"cidr": peer.cidr}}],
        "ports": [{"protocol": "TCP", "port": port} for port in peer.ports],
    }
