"""Publishes results to the line over MQTT, in order, in a thread of its own; the outbox keeps each until then."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.broker import make_client
from edge_agent.config import Mqtt
from edge_agent.errors import EdgeError
from edge_agent.outbox import Outbox
from edge_agent.outbox_schema import Outgoing
from edge_agent.result import Presence

_log = logging.getLogger(__name__)

_IN_FLIGHT: Final = 20


class ResultPublisher:
    """Publishes to `<prefix>/<site>/<device>/results` with QoS 1, and a retained `status` beside it.

    After an outage a result may arrive twice; readers tell by its `capture_id`. A result that was handed to the client
    is not handed to it again while this process lives: the client itself sends it again, in order, after a reconnect.

    Args:
        triggers: by topic, what is called with the payload of each message. A retained message is old and triggers
            nothing.
        connect: makes the MQTT client from the configuration and a client id.
        reconnect_limit_s: the longest wait between two attempts to reach the broker.
    """

    def __init__(
        self,
        outbox: Outbox,
        mqtt: Mqtt,
        site: str,
        device: str,
        *,
        triggers: Mapping[str, Callable[[bytes], None]] | None = None,
        connect: Callable[[Mqtt, str], Client] = make_client,
        reconnect_limit_s: int = 60,
    ) -> None:
        self._outbox = outbox
        self._mqtt = mqtt
        self._device = device
        self._triggers = dict(triggers or {})
        self._leaving = False
        self._refused = False
        base = f"{mqtt.topic_prefix}/{site}/{device}"
        self.results_topic: Final = f"{base}/results"
        self.status_topic: Final = f"{base}/status"
        self._release: str | None = None
        self._lock = threading.Lock()
        self._acknowledged: set[int] = set()
        self._handed: dict[int, Outgoing] = {}
        self._last_id = 0
        self.connected = False
        self.problem = f"not connected yet to {mqtt.host}:{mqtt.port}"
        self._client = self._configured(connect(mqtt, f"kizu-{site}-{device}"), reconnect_limit_s)

    def announce(self, release_digest: str | None) -> None:
        """Publish on the status topic which release runs; None for no release."""
        self._release = release_digest
        if self.connected:
            self._publish_presence("online")

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set; then publish `offline` and disconnect."""
        self._client.connect_async(self._mqtt.host, self._mqtt.port, keepalive=self._mqtt.keepalive_s)
        self._client.loop_start()
        try:
            while not stop.is_set():
                try:
                    self._settle()
                    moved = self._hand_over() if self.connected else False
                except EdgeError:
                    _log.exception("results wait")
                    moved = False
                if not moved:
                    self._outbox.result_waits.wait(0.2)
                    self._outbox.result_waits.clear()
            self._leaving = True
            self._settle()
            if self.connected:
                self._publish_presence("offline").wait_for_publish(2.0)
                self._settle()
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _configured(self, client: Client, reconnect_limit_s: int) -> Client:
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.reconnect_delay_set(min_delay=1, max_delay=reconnect_limit_s)
        client.will_set(self.status_topic, self._presence("offline"), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _hand_over(self) -> bool:
        room = _IN_FLIGHT - len(self._handed)
        items = self._outbox.results(room, after=self._last_id) if room > 0 else []
        for item in items:
            info = self._client.publish(self.results_topic, item.payload, qos=1)
            self._handed[info.mid] = item
            self._last_id = item.item_id
        return bool(items)

    def _settle(self) -> None:
        with self._lock:
            mids = self._acknowledged & self._handed.keys()
            self._acknowledged -= mids
        for mid in mids:
            self._outbox.delivered(self._handed.pop(mid))

    def _presence(self, state: str) -> bytes:
        return Presence(device=self._device, state=state, release_digest=self._release).to_json()

    def _publish_presence(self, state: str) -> Any:
        return self._client.publish(self.status_topic, self._presence(state), qos=1, retain=True)

    # The client calls the methods below from its own thread.

    def _on_connect(
        self, client: Client, data: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused = True
            self.problem = f"the broker {self._mqtt.host}:{self._mqtt.port} refuses: {code}"
            _log.warning("%s", self.problem)
            return
        self.connected = True
        self.problem = ""
        for topic in self._triggers:
            client.subscribe(topic, qos=1)
        self._publish_presence("online")
        self._outbox.result_waits.set()

    def _on_connect_fail(self, client: Client, data: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error, and does not pass it on
        self.problem = f"not connected to {self._mqtt.host}:{self._mqtt.port}{f': {error}' if error else ''}"

    def _on_disconnect(
        self, client: Client, data: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self.connected and not self._leaving:
            _log.warning("lost the broker %s:%s (%s); results wait", self._mqtt.host, self._mqtt.port, code)
        where = f"{self._mqtt.host}:{self._mqtt.port}"
        if self.connected:
            self.problem = f"not connected to {where}"
        elif not self._refused:
            self.problem = f"{where} closed the connection before it answered ({code}); does it want a certificate?"
        self.connected = self._refused = False

    def _on_publish(
        self, client: Client, data: object, mid: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            self._acknowledged.add(mid)
        self._outbox.result_waits.set()

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        trigger = self._triggers.get(message.topic)
        if trigger is None or message.retain:
            _log.debug("ignored a message on %s", message.topic)
            return
        trigger(bytes(message.payload))
