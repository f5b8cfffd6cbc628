"""Messages: kombu, amqp, Kafka, RabbitMQ, NATS, STOMP; and procrastinate's wait for jobs."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, each

_QUEUE: Final = KnownCall("queue", "timeout")

PAGE: Final = Page(
    calls={
        "kombu.connection": {"Connection.drain_events": _QUEUE},
        "kombu.simple": {"SimpleBase.get": _QUEUE},
        "amqp.connection": {"Connection.drain_events": _QUEUE},
        "kafka.consumer.group": {
            "KafkaConsumer.poll": KnownCall("queue", "timeout_ms", unit=0.001),
            **each("KafkaConsumer.__next__ KafkaConsumer._message_generator", KnownCall("queue")),
        },
        "kafka.producer.future": {"FutureRecordMetadata.get": KnownCall("future", "timeout")},
        "kafka.producer.kafka": {"KafkaProducer.flush": _QUEUE},
        "pika.adapters.blocking_connection": {
            **each("BlockingConnection.__init__ BlockingConnection._create_connection", KnownCall("connect")),
            "BlockingConnection.process_data_events": KnownCall("queue", "time_limit"),
            "BlockingConnection.sleep": KnownCall("sleep"),
            "BlockingChannel.start_consuming": KnownCall("queue"),
            "BlockingChannel.consume": KnownCall("queue", "inactivity_timeout", "{queue}"),
        },
        "procrastinate.manager": {"JobManager.listen_for_jobs": KnownCall("queue")},
    },
    packages=each("kafka aiokafka confluent_kafka pika aio_pika aiormq amqp kombu nats stomp", "queue"),
)
