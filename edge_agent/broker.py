"""Makes the MQTT client for the broker that the configuration names."""

from __future__ import annotations

import ssl
from typing import Final

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.config import Mqtt, Tls, require_private
from edge_agent.errors import ConfigError

_PROTOCOLS: Final = {"3.1.1": MQTTv311, "5": MQTTv5}


def make_client(mqtt: Mqtt, client_id: str) -> Client:
    """A client that is not connected yet. The broker keeps no session, since the outbox keeps what must arrive.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    protocol = _PROTOCOLS[mqtt.protocol]
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=protocol,
        clean_session=None if protocol == MQTTv5 else True,
    )
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, mqtt.password.get_secret_value() if mqtt.password else None)
    if mqtt.tls is not None:
        client.tls_set_context(tls_context(mqtt.tls))
    return client


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A TLS context for the broker: TLS 1.2 or newer; the name of the broker is always checked.

    Raises:
        ConfigError: a file cannot be used, or others may read the key.
    """
    if tls.key_file is not None:
        require_private(tls.key_file, "it holds this device's key for the broker")
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate_file is not None:
            context.load_cert_chain(str(tls.certificate_file), str(tls.key_file))
    except (OSError, ssl.SSLError) as e:
        files = [str(file) for file in (tls.ca_file, tls.certificate_file, tls.key_file) if file]
        raise ConfigError(f"expected PEM files under mqtt.tls, but one of {files} cannot be used: {e}") from e
    return context
