"""Publishes results to the line over MQTT, in order, in a thread of its own; the outbox keeps each until then."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.broker import make_client
from edge_agent.config import Mqtt
from edge_agent.errors import EdgeError
from edge_agent.outbox import Outbox
from edge_agent.outbox_schema import PARTS_TOPIC, RESULTS_TOPIC, Outgoing
from edge_agent.refusals import Refusals
from edge_agent.result import Presence

_log = logging.getLogger(__name__)

_IN_FLIGHT: Final = 20
_LEAVE_S: Final = 2.0
_SUBSCRIBE_AGAIN_S: Final = 60.0


class ResultPublisher:
    """Publishes to `<prefix>/<site>/<device>/results` with QoS 1, answers about parts to `parts`, and a retained
    `status` beside it.

    A result leaves the outbox only when the broker has accepted it. A result that the broker refuses (MQTT 5) stays and
    is tried again; see `Refusals`. After an outage everything that was not confirmed is handed over again, oldest
    first, so a result may arrive twice; readers tell by its `capture_id`.

    Args:
        triggers: by topic, what is called with the payload of each message. A retained message is old and triggers
            nothing.
        connect: makes the MQTT client from the configuration and a client id.
        reconnect_limit_s: the longest wait between two attempts to reach the broker.
        clock: seconds, by a clock that never jumps.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._mqtt = mqtt
        self._device = device
        self._triggers = dict(triggers or {})
        self._clock = clock
        self._leaving = False
        self._broker_refused = False
        base = f"{mqtt.topic_prefix}/{site}/{device}"
        self.results_topic: Final = f"{base}/results"
        self.parts_topic: Final = f"{base}/parts"
        self._topics = {RESULTS_TOPIC: self.results_topic, PARTS_TOPIC: self.parts_topic}
        self.status_topic: Final = f"{base}/status"
        self._release: str | None = None
        self._presence_due = ""
        self._answers: deque[tuple[int, int, ReasonCode]] = deque()
        # Held while a message is handed to the client and while the connection changes: a message of the old connection
        # must not come between those that are handed over again. The callback of an acknowledgement must not take it,
        # since the client then holds a lock that handing over needs.
        self._connection = threading.RLock()
        self._session = 0
        self._window = _IN_FLIGHT
        self._handed: dict[int, Outgoing | None] = {}
        """By message id, what the present connection has not answered yet; None for a presence."""
        self._handed_session = 0
        self._last_id = 0
        self._refusals = Refusals(clock)
        self._subscribing: dict[int, str] = {}
        self._denied: dict[str, str] = {}
        self._subscribe_at = 0.0
        self.connected = False
        self._connection_problem = f"not connected yet to {mqtt.host}:{mqtt.port}"
        self._client = self._configured(connect(mqtt, f"kizu-{site}-{device}"), reconnect_limit_s)

    @property
    def problem(self) -> str:
        """What keeps results or triggers from passing; empty where all is well."""
        if self._connection_problem:
            return self._connection_problem
        said = [f"the broker denies the subscription to {topic}: {why}" for topic, why in sorted(self._denied.items())]
        if self._refusals.count():
            said.append(
                f"results that the broker refuses, and that wait: {self._refusals.count()} ({self._refusals.why})"
            )
        return "; ".join(said)

    def announce(self, release_digest: str | None) -> None:
        """Publish on the status topic which release runs; None for no release."""
        self._release = release_digest
        self._presence_due = "online"
        self._outbox.result_waits.set()

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set; then publish `offline` and disconnect."""
        self._client.connect_async(self._mqtt.host, self._mqtt.port, keepalive=self._mqtt.keepalive_s)
        self._client.loop_start()
        try:
            while not stop.is_set():
                if not self._step_or_say_why():
                    self._outbox.result_waits.wait(0.2)
                    self._outbox.result_waits.clear()
            self._leave()
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def step(self) -> bool:
        """Settle what the broker has answered, and hand over what may be.

        Returns:
            Whether something was handed over.

        Raises:
            EdgeError: the outbox cannot be used.
        """
        self._settle()
        if not self.connected:
            return False
        self._subscribe_to_denied()
        return self._hand_over()

    def _step_or_say_why(self) -> bool:
        try:
            return self.step()
        except EdgeError:
            _log.exception("results wait")
            return False

    def _leave(self) -> None:
        self._leaving = True
        self._presence_due = "offline"
        until = time.monotonic() + _LEAVE_S
        while self.connected and time.monotonic() < until:
            self._settle()
            if self._presence_due:
                self._publish_presence()
            elif None not in self._handed.values():
                return
            self._outbox.result_waits.wait(0.05)
            self._outbox.result_waits.clear()

    def _configured(self, client: Client, reconnect_limit_s: int) -> Client:
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.reconnect_delay_set(min_delay=1, max_delay=reconnect_limit_s)
        client.will_set(self.status_topic, self._presence("offline"), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _hand_over(self) -> bool:
        if self._presence_due and not self._publish_presence():
            return False
        if self._refusals.paused_s() > 0:
            return False
        due = self._refusals.first_due()
        if due is not None:
            self._last_id = min(self._last_id, due - 1)
        room = (1 if self._refusals.in_doubt else self._window) - len(self._handed)
        if room <= 0:
            return False
        under_way = {item.item_id for item in self._handed.values() if item is not None}
        passed_over = len(under_way) + self._refusals.count()
        moved = False
        waiting = self._outbox.results(room + passed_over, after=self._last_id)
        if due is not None and due not in under_way and all(item.item_id != due for item in waiting):
            self._refusals.forget(due)  # the outbox has dropped it
        for item in waiting:
            if item.item_id in under_way or self._refusals.waits(item.item_id):
                continue
            if room <= 0 or not self._publish(self._topics[item.topic], item.payload, item):
                break
            room -= 1
            moved = True
            self._last_id = max(self._last_id, item.item_id)
        return moved

    def _publish(self, topic: str, payload: bytes, item: Outgoing | None) -> bool:
        """Hand one message to the client; False where the connection has changed or the client takes no more."""
        with self._connection:
            if not self.connected or self._session != self._handed_session:
                return False
            info = self._client.publish(topic, payload, qos=1, retain=item is None)
            if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE or info.mid in self._handed:
                return False  # the id is under way for another message
            self._handed[info.mid] = item
            return True

    def _settle(self) -> None:
        while self._answers:
            session, mid, code = self._answers.popleft()
            if session != self._handed_session or mid not in self._handed:
                continue
            item = self._handed.pop(mid)
            if item is None:
                if code.is_failure:
                    _log.warning("the broker refuses the status of this device: %s", code)
            elif code.is_failure:
                if not self._refusals.count():
                    _log.warning("the broker refuses results, which wait: %s", code)
                self._refusals.refused(item.item_id, str(code))
            else:
                self._outbox.delivered(item)
                self._refusals.accepted(item.item_id)
        with self._connection:
            if self._session != self._handed_session:
                # Everything that the former connection left open is handed over again.
                self._handed_session = self._session
                self._handed.clear()
                self._last_id = 0

    def _subscribe_to_denied(self) -> None:
        if self._denied and self._clock() >= self._subscribe_at:
            self._subscribe_at = self._clock() + _SUBSCRIBE_AGAIN_S
            for topic in tuple(self._denied):
                self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        with self._connection:
            _, mid = self._client.subscribe(topic, qos=1)
            if mid is not None:
                self._subscribing[mid] = topic

    def _presence(self, state: str) -> bytes:
        return Presence(device=self._device, state=state, release_digest=self._release).to_json()

    def _publish_presence(self) -> bool:
        if len(self._handed) >= self._window:
            return False
        state, self._presence_due = self._presence_due, ""
        if self._publish(self.status_topic, self._presence(state), None):
            return True
        self._presence_due = self._presence_due or state
        return False

    # The client calls the methods below from its own thread.

    def _on_connect(
        self, client: Client, data: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._broker_refused = True
            self._connection_problem = f"the broker {self._mqtt.host}:{self._mqtt.port} refuses: {code}"
            _log.warning("%s", self._connection_problem)
            return
        with self._connection:
            client.drop_out_messages()  # the outbox still has them, and gives them again in their order
            self._window = max(1, min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT)))
            self._session += 1
            self.connected = True
            self._connection_problem = ""
            self._subscribing.clear()
            self._subscribe_at = self._clock() + _SUBSCRIBE_AGAIN_S
            for topic in self._triggers:
                self._subscribe(topic)
            if not self._leaving:
                self._presence_due = "online"
        self._outbox.result_waits.set()

    def _on_connect_fail(self, client: Client, data: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error, and does not pass it on
        self._connection_problem = (
            f"not connected to {self._mqtt.host}:{self._mqtt.port}{f': {error}' if error else ''}"
        )

    def _on_disconnect(
        self, client: Client, data: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self.connected and not self._leaving:
            _log.warning("lost the broker %s:%s (%s); results wait", self._mqtt.host, self._mqtt.port, code)
        where = f"{self._mqtt.host}:{self._mqtt.port}"
        with self._connection:
            if self.connected:
                self._connection_problem = f"not connected to {where}"
            elif not self._broker_refused:
                self._connection_problem = (
                    f"{where} closed the connection before it answered ({code}); does it want a certificate?"
                )
            self.connected = self._broker_refused = False

    def _on_publish(
        self, client: Client, data: object, mid: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._answers.append((self._session, mid, code))
        self._outbox.result_waits.set()

    def _on_subscribe(
        self, client: Client, data: object, mid: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        with self._connection:
            topic = self._subscribing.pop(mid, None)
        if topic is None:
            return
        failed = next((code for code in codes if code.is_failure), None)
        if failed is None:
            self._denied.pop(topic, None)
        elif topic not in self._denied:
            _log.warning("the broker denies the subscription to %s: %s; no trigger arrives by it", topic, failed)
            self._denied[topic] = str(failed)

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        trigger = self._triggers.get(message.topic)
        if trigger is None or message.retain:
            _log.debug("ignored a message on %s", message.topic)
            return
        trigger(bytes(message.payload))
