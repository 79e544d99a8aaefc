"""A broker that refuses: what it has not accepted stays in the outbox, is shown, and holds up nothing else."""

from __future__ import annotations

import json

import pytest
from paho.mqtt.client import MQTTMessageInfo
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.config import Mqtt
from edge_agent.outbox import Outbox
from edge_agent.result_publisher import ResultPublisher
from tests.edge_agent.outbox_items import LIMITS, result

OK = ReasonCode(PacketTypes.PUBACK, "Success")
NOT_AUTHORIZED = ReasonCode(PacketTypes.PUBACK, "Not authorized")
BAD_PAYLOAD = ReasonCode(PacketTypes.PUBACK, "Payload format invalid")


class FakeClient:
    """The MQTT client at its port: keeps what is handed to it, and lets a test play the broker."""

    def __init__(self) -> None:
        self.open: dict[int, tuple[str, bytes]] = {}
        self.order: list[int] = []
        self.subscribed: list[tuple[int, str]] = []
        self.next_mid = 1
        self.takes_no_more = False

    def max_inflight_messages_set(self, count) -> None: ...

    def reconnect_delay_set(self, min_delay, max_delay) -> None: ...

    def will_set(self, topic, payload, qos, retain) -> None: ...

    def publish(self, topic, payload, qos, retain=False) -> MQTTMessageInfo:
        info = MQTTMessageInfo(self.next_mid)
        if self.takes_no_more:
            info.rc = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            return info
        self.open[self.next_mid] = (topic, payload)
        if topic.endswith("/results"):
            self.order.append(int(json.loads(payload)["capture_id"], 16))
        self.next_mid += 1
        return info

    def subscribe(self, topic, qos) -> tuple[MQTTErrorCode, int]:
        mid, self.next_mid = self.next_mid, self.next_mid + 1
        self.subscribed.append((mid, topic))
        return MQTTErrorCode.MQTT_ERR_SUCCESS, mid

    def drop_out_messages(self) -> None:
        self.open.clear()

    # -- what the broker does -----------------------------------------------------------------------------------------

    def accept_connection(self, receive_maximum: int | None = None) -> None:
        properties = Properties(PacketTypes.CONNACK)
        if receive_maximum is not None:
            properties.ReceiveMaximum = receive_maximum
        self.on_connect(self, None, None, ReasonCode(PacketTypes.CONNACK, "Success"), properties)

    def answer(self, code: ReasonCode, *, only: int | None = None) -> None:
        """Answer all open messages, or the result of this number only; the presence is accepted."""
        for mid, (topic, payload) in list(self.open.items()):
            is_result = topic.endswith("/results")
            if only is not None and (not is_result or int(json.loads(payload)["capture_id"], 16) != only):
                continue
            del self.open[mid]
            self.on_publish(self, None, mid, code if is_result else OK, None)


@pytest.fixture
def line(tmp_path):
    """A publisher over a fake client, its outbox, and a clock that the test sets."""
    outbox, client, clock = Outbox(tmp_path / "outbox", LIMITS), FakeClient(), [100.0]
    publisher = ResultPublisher(
        outbox, Mqtt(host="broker"), "plant1", "dev1", triggers={"plant/trigger": lambda _: None},
        connect=lambda *_: client, clock=lambda: clock[0],
    )  # fmt: skip
    yield outbox, publisher, client, clock
    outbox.close()


def record(outbox, numbers) -> None:
    for number in numbers:
        outbox.record(f"f{number}", result(number), None, publish=True)


def waiting(outbox) -> list[int]:
    return [int(item.capture_id, 16) for item in outbox.results(1000)]


def test_a_result_that_the_broker_refuses_stays_in_the_outbox_and_is_shown(line):
    """An acknowledgement with a failure code is a refusal. The results go, in order, once the broker accepts them."""
    outbox, publisher, client, clock = line
    record(outbox, range(30))
    client.accept_connection()
    publisher.step()
    client.answer(NOT_AUTHORIZED)
    publisher.step()
    assert waiting(outbox) == list(range(30))
    assert "that wait: 19 (Not authorized)" in publisher.problem  # and the presence makes 20
    assert not client.open  # nothing is tried again at once
    clock[0] += 2.0
    publisher.step()
    assert len(client.open) == 1  # one is tried, not all
    client.order.clear()
    client.answer(OK)
    while publisher.step():
        client.answer(OK)
    assert client.order == list(range(1, 30))
    assert waiting(outbox) == []
    assert publisher.problem == ""


def test_one_refused_result_does_not_hold_up_the_others(line):
    """It is tried again by itself, less and less often."""
    outbox, publisher, client, clock = line
    record(outbox, range(50))
    client.accept_connection()
    publisher.step()
    for _ in range(60):
        client.answer(BAD_PAYLOAD, only=3)
        client.answer(OK)
        publisher.step()
        clock[0] += 1.0
    assert waiting(outbox) == [3]
    assert client.order.count(3) < 12
    assert "that wait: 1 (Payload format invalid)" in publisher.problem


def test_an_acknowledgement_settles_only_the_message_of_this_connection(line):
    """Message ids are used again: that of an earlier message must not settle a result that nobody has confirmed."""
    outbox, publisher, client, _ = line
    client.accept_connection()
    publisher.step()
    client.answer(OK)  # the presence
    publisher.step()
    client.next_mid -= 1  # the ids have gone round: the next result gets that of the presence
    record(outbox, [1])
    publisher.step()
    publisher.step()
    assert waiting(outbox) == [1]
    mid = next(iter(client.open))
    client.on_publish(client, None, mid, OK, None)
    client.accept_connection()  # lost and found again, before the acknowledgement was looked at
    client.next_mid = mid
    publisher.step()
    assert waiting(outbox) == []


def test_what_a_lost_connection_left_open_is_handed_over_again_oldest_first(line):
    """The client forgets its own queue, so that newer results do not pass older ones."""
    outbox, publisher, client, _ = line
    record(outbox, range(25))
    client.accept_connection()
    publisher.step()
    client.on_disconnect(client, None, None, ReasonCode(PacketTypes.DISCONNECT, "Unspecified error"), None)
    client.accept_connection()
    client.order.clear()
    while publisher.step() or client.open:
        client.answer(OK)
    assert client.order == list(range(25))
    assert waiting(outbox) == []


def test_a_message_that_the_client_does_not_take_is_handed_over_later(line):
    """Its id is under way for another message, which must stay the one that the id settles."""
    outbox, publisher, client, _ = line
    record(outbox, [1])
    client.accept_connection()
    publisher.step()
    client.answer(OK)
    publisher.step()
    record(outbox, [2])
    client.takes_no_more = True
    publisher.step()
    assert waiting(outbox) == [2]
    client.takes_no_more = False
    publisher.step()
    client.answer(OK)
    publisher.step()
    assert waiting(outbox) == []


def test_no_more_messages_are_under_way_than_the_broker_takes(line):
    """A broker of MQTT 5 says how many; with one more it ends the connection. The presence counts as well."""
    outbox, publisher, client, _ = line
    record(outbox, range(40))
    client.accept_connection(receive_maximum=10)
    publisher.step()
    assert len(client.open) == 10
    most = 0
    while client.open:
        publisher.announce("abc")
        client.answer(OK, only=client.order[-1])
        publisher.step()
        most = max(most, len(client.open))
        client.answer(OK)
        publisher.step()
    assert most <= 10
    assert waiting(outbox) == []


def test_a_subscription_that_the_broker_denies_is_shown_and_tried_again(line):
    """Without it no trigger arrives, and nothing else would tell."""
    _, publisher, client, clock = line
    client.accept_connection()
    mid, topic = client.subscribed[0]
    client.on_subscribe(client, None, mid, [ReasonCode(PacketTypes.SUBACK, "Not authorized")], None)
    assert publisher.problem == "the broker denies the subscription to plant/trigger: Not authorized"
    publisher.step()
    assert len(client.subscribed) == 1
    clock[0] += 60.0
    publisher.step()
    mid, topic = client.subscribed[1]
    assert topic == "plant/trigger"
    client.on_subscribe(client, None, mid, [ReasonCode(PacketTypes.SUBACK, "Granted QoS 1")], None)
    assert publisher.problem == ""
