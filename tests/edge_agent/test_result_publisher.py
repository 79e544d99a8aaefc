"""Results on the line: in order, kept through an outage of a real broker, with a correct status."""

from __future__ import annotations

import threading

import pytest
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.broker import make_client
from edge_agent.config import Mqtt
from edge_agent.outbox import Outbox
from edge_agent.result_publisher import ResultPublisher
from tests.edge_agent.listener import Listener
from tests.edge_agent.outbox_items import LIMITS, result
from tests.edge_agent.servers import wait_for


@pytest.fixture
def line(tmp_path, any_broker):
    """A publisher that runs against the broker, with its outbox, stop event and thread."""
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    mqtt = Mqtt(host="127.0.0.1", port=any_broker.port, protocol=any_broker.protocol)
    publisher = ResultPublisher(outbox, mqtt, "plant1", "dev1", reconnect_limit_s=1)
    stop = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    yield outbox, publisher, stop, thread
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    outbox.close()


def record(outbox, numbers) -> None:
    for number in numbers:
        outbox.record(f"f{number}", result(number), None, publish=True)


def test_results_arrive_in_order_and_leave_the_outbox(line, any_broker):
    """Each result arrives once where nothing fails."""
    outbox, publisher, _, _ = line
    listener = Listener(any_broker.port)
    wait_for(lambda: publisher.connected)
    record(outbox, range(100))
    wait_for(lambda: len(listener.results) >= 100)
    assert listener.numbers() == list(range(100))
    wait_for(lambda: outbox.depth()["result"] == 0)
    assert listener.results[0]["schema_version"] == 2
    listener.close()


def test_an_outage_of_the_broker_loses_no_result_and_keeps_their_order(line, any_broker):
    """A result that arrives twice has the same capture_id."""
    outbox, publisher, _, _ = line
    wait_for(lambda: publisher.connected)
    any_broker.stop()
    wait_for(lambda: not publisher.connected)
    record(outbox, range(50))
    assert outbox.depth()["result"] == 50
    assert publisher.problem
    any_broker.start()
    listener = Listener(any_broker.port)
    record(outbox, range(50, 60))
    wait_for(lambda: set(listener.numbers()) == set(range(60)), 40)
    seen = list(dict.fromkeys(listener.numbers()))
    assert seen == list(range(60))
    wait_for(lambda: outbox.depth()["result"] == 0)
    listener.close()


def test_a_broker_killed_in_the_middle_of_a_burst_loses_nothing(line, any_broker):
    """A row is removed only after the broker has confirmed its message."""
    outbox, publisher, _, _ = line
    listener = Listener(any_broker.port)
    wait_for(lambda: publisher.connected)
    burst = threading.Thread(target=record, args=(outbox, range(300)))
    burst.start()
    wait_for(lambda: len(listener.results) > 20)
    any_broker.stop()
    burst.join()
    before = set(listener.numbers())
    any_broker.start()
    wait_for(lambda: outbox.depth()["result"] == 0, 60)
    # The listener itself may miss what passed before it was back; the publisher's promise ends at the broker.
    assert before <= set(range(300))
    assert outbox.dropped() == 0
    listener.close()


def test_the_status_is_retained_and_says_offline_after_an_orderly_stop(line, any_broker):
    """A program that subscribes later gets the status at once."""
    _, publisher, stop, thread = line
    wait_for(lambda: publisher.connected)
    publisher.announce("abc")
    wait_for(lambda: states_of(any_broker.port)[-1:] == [("online", "abc")])
    stop.set()
    thread.join(20)
    assert states_of(any_broker.port)[-1][0] == "offline"


def test_the_broker_says_offline_for_a_device_that_vanished(tmp_path, any_broker):
    """The broker publishes the last will of the device."""
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    mqtt = Mqtt(host="127.0.0.1", port=any_broker.port, protocol=any_broker.protocol)
    clients: list[Client] = []

    def connect(mqtt: Mqtt, client_id: str) -> Client:
        clients.append(make_client(mqtt, client_id))
        return clients[-1]

    publisher = ResultPublisher(outbox, mqtt, "plant1", "dev1", connect=connect)
    (client,) = clients
    client.connect("127.0.0.1", any_broker.port)
    client.loop_start()
    wait_for(lambda: publisher.connected)
    listener = Listener(any_broker.port)
    client.socket().close()  # no DISCONNECT, as when the power goes
    wait_for(lambda: any(state["state"] == "offline" for state in listener.states))
    client.disconnect()
    client.loop_stop()
    listener.close()
    outbox.close()


def states_of(port: int) -> list[tuple[str, str | None]]:
    listener = Listener(port)
    try:
        wait_for(lambda: listener.states, 10)
        return [(state["state"], state["release_digest"]) for state in listener.states]
    finally:
        listener.close()


def test_a_trigger_on_the_broker_is_passed_on_and_old_news_is_not(tmp_path, any_broker):
    """A retained message was meant for an earlier part, so it triggers nothing."""
    speaker = Client(CallbackAPIVersion.VERSION2, client_id="plc", protocol=MQTTv311)
    speaker.connect("127.0.0.1", any_broker.port)
    speaker.loop_start()
    speaker.publish("plant/trigger", b"old", qos=1, retain=True).wait_for_publish(10)
    got: list[bytes] = []
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    mqtt = Mqtt(host="127.0.0.1", port=any_broker.port, protocol=any_broker.protocol)
    publisher = ResultPublisher(outbox, mqtt, "plant1", "dev1", triggers={"plant/trigger": got.append})
    stop = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    wait_for(lambda: publisher.connected)

    def heard() -> bool:
        speaker.publish("plant/other", b"no", qos=1)
        speaker.publish("plant/trigger", b"now", qos=1).wait_for_publish(10)
        return bool(got)

    wait_for(heard, every_s=0.3)
    assert set(got) == {b"now"}
    stop.set()
    thread.join(20)
    speaker.disconnect()
    speaker.loop_stop()
    outbox.close()


def test_without_a_broker_results_wait(tmp_path):
    """Stopping the publisher does not hang."""
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    publisher = ResultPublisher(outbox, Mqtt(host="127.0.0.1", port=1), "plant1", "dev1")
    stop = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    record(outbox, range(3))
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert outbox.depth()["result"] == 3
    outbox.close()
