"""A program on the line that reads what a device publishes."""

from __future__ import annotations

import json
import threading

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion


class Listener:
    """A program on the line that reads all topics."""

    def __init__(self, port: int) -> None:
        self.results: list[dict] = []
        self.states: list[dict] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=MQTTv311)
        self.client.on_message = self._on_message
        self.ready = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("kizu/#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(10)

    def _on_message(self, client, data, message) -> None:
        (self.states if message.topic.endswith("/status") else self.results).append(json.loads(message.payload))

    def numbers(self) -> list[int]:
        return [int(item["capture_id"], 16) for item in self.results]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
