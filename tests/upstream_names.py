"""All undocumented names of other packages that we depend on.

`test_upstream_contract` checks them. A row has

- the full name, beginning with its package;
- what it must be: `(self, tp)` for a function with these parameters, `async (…)` for a coroutine function, `task async
  (…)` for a background task of mode, else `class`, `property` or the type of the value;
- what we use it for;
- the first digits of the SHA-256 of its source, if its code matters (ours is a modified copy of it, or relies on the
  order of its calls). If it changes, compare the new source with ours, then put the new digest here;
- the name in our code that depends on it, if it is a different one. The check shows the files that contain it.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One name; see the module's docstring."""

    name: str
    expected: str
    use: str
    digest: str = ""
    ours: str = ""


CHECKED_WITH = {
    "faust-streaming": "0.15.3",
    "mode-streaming": "0.7.1",
    "aiokafka": "0.14.0",
    "rocksdict": "0.3.29",
    "numba": "0.68.1",
    "torch": "2.15.0",
}
"""The versions that the rows were checked against."""

DISTRIBUTIONS = {"faust": "faust-streaming", "mode": "mode-streaming"}
"""Import name → distribution name, if they differ."""


def _rows(prefix: str, *rows: tuple[str, ...]) -> list[Row]:
    return [Row(f"{prefix}.{name}", *rest) for name, *rest in rows]


APP = _rows(
    "faust.App",
    ("__init__", "(self, id, *, monitor=None, config_source=None, loop=None, beacon=None, **options)",
     "We pass the id and settings by name."),
    ("crash", "async (self, reason)",
     "Overridden: Faust calls it when a part of the app fails, and we end the process.", "6e0b5672"),
    ("on_start", "async (self)", "Extended: the changelog's producer is started before agents and tables.", "d86da08f"),
    ("on_stop", "async (self)", "Extended: Faust stops the consumer first, then the changelog's producer is closed.",
     "d8e7904b"),
    ("_new_transport", "(self)", "Overridden: makes the transport that has our consumer.", "11beddac"),
    ("_on_partitions_revoked", "async (self, revoked)",
     "Our consumer awaits it first: it stops the flow, clears the queues, then calls `wait_empty`, which commits.",
     "c1abd58d",
     "wait_empty"),
    ("_on_partitions_assigned", "async (self, assigned, generation_id=0)",
     "It calls the tables' `on_rebalance`, which starts our recovery.", "c9c5485e", "_restart_recovery"),
    ("on_rebalance_start", "(self)", "It sets `rebalancing` before partitions are revoked.", "34f7e4e2", "rebalancing"),
    ("consumer_generation_id", "int", "Clicks that were fetched in an older generation are dropped."),
    ("rebalancing", "bool", "A worker in a rebalance is not ready."),
    ("in_recovery", "bool", "Shown on the page `/health`."),
    ("BootStrategy", "class", "Overridden: Faust's web server is not started.", "", "_WithoutFaustsPages"),
    ("flow_control", "cached_property", "While it is not active, records wait in the queue of the source."),
)  # fmt: skip

BOOT = [
    Row("faust.app.BootStrategy", "class", "The base of ours."),
    *_rows(
        "faust.app.BootStrategy",
        ("enable_web", "NoneType", "Overridden: Faust's web server is not started."),
        ("web_server", "(self)", "It asks `_should_enable_web`.", "258eb1ab", "_WithoutFaustsPages"),
        ("_should_enable_web", "(self)", "It takes `enable_web` before the setting.", "5b764f27",
         "_WithoutFaustsPages"),
    ),
]  # fmt: skip

WORKER = _rows(
    "faust.Worker",
    ("__init__",
     "(self, app, *services, sensors=None, debug=False, quiet=False, loglevel=None, logfile=None, stdout=…, stderr=…, "
     "blocking_timeout=None, workdir=None, console_port=50101, loop=None, redirect_stdouts=None, "
     "redirect_stdouts_level=None, logging_config=None, **kwargs)",
     "Extended: Faust makes the worker with the app first."),
    ("spinner", "Spinner", "Set to None: its log handler sets the root logger to DEBUG."),
    ("_setup_logging", "(self)", "Overridden: plain log lines.", "26771e78"),
    ("logfile", "NoneType", "Where `faust -f` wants the log."),
    ("loglevel", "NoneType", "What `faust -l` wants in it."),
    ("_schedule_shutdown", "(self, signal)", "Extended: a stop must end in time.", "00f5a7d8"),
    ("on_shutdown", "async (self)", "Extended: the pages are closed last."),
    ("_signal_stop_time", "NoneType", "None until the first signal to stop."),
    ("execute_from_commandline", "(self)", "Extended: the broker, topics and data directory are checked first.",
     "d441fd6a"),
)  # fmt: skip

DRIVER = _rows(
    "faust.transport.drivers.aiokafka",
    ("Transport.Consumer", "class", "Overridden: the class of which Faust makes its consumer."),
    ("Transport.Producer", "class", "Overridden: the class of which Faust makes its producer."),
    ("Producer.app", "App", "For the settings."),
    ("Producer._ensure_producer", "(self)",
     "Returns the running AIOKafkaProducer, through which answers are sent in batches.", "04016bd2"),
    ("Producer._new_producer", "(self, transactional_id=None)",
     "Extended: our security. Makes a second AIOKafkaProducer with the app's settings, for the changelog.",
     "a1bef421"),
    ("ensure_aiokafka_TP", "(tp)", "Turns Faust's partitions into aiokafka's."),
    ("ConsumerRebalanceListener", "class",
     "It sets the app's generation before it awaits `on_partitions_assigned`.", "f3d04f29", "ConsumerThread"),
    ("AIOKafkaConsumerThread._create_worker_consumer", "(self, transport)",
     "Extended: the consumer reads committed messages only.", "c179c0bd"),
    ("AIOKafkaConsumerThread._fetch_records",
     "async (self, consumer, active_partitions, timeout=None, max_records=None)",
     "Extended: says what a fetch covers, and handles its errors.", "9e7369fc"),
    ("AIOKafkaConsumerThread.getmany", "async (self, active_partitions, timeout)",
     "It runs `_fetch_records` on the thread, and passes its result on as it is.", "1b1c5804", "_fetch_records"),
    ("AIOKafkaConsumerThread.seek_to_committed", "async (self)",
     "Overridden: what fetches cover is forgotten in the same call.", "43907fc1"),
    ("AIOKafkaConsumerThread.on_start", "async (self)",
     "Extended: it starts the AIOKafkaConsumer, after which its heartbeats are watched.", "675d0370"),
    ("AIOKafkaConsumerThread.on_partitions_assigned", "async (self, assigned, generation_id=0)",
     "Extended: a completed join counts as a heartbeat.", "972fe557"),
    ("AIOKafkaConsumerThread.commit", "async (self, offsets)", "It runs `_commit` on the thread.", "415fafc6",
     "ConsumerThread"),
    ("AIOKafkaConsumerThread._commit", "async (self, offsets)",
     "Overridden: a commit that the broker refuses is tried again, where Faust stops the worker.", "78c931ec"),
    ("AIOKafkaConsumerThread._ensure_consumer", "(self)", "Returns the running AIOKafkaConsumer."),
    ("AIOKafkaConsumerThread.assignment", "(self)", "Offsets of partitions that are not assigned are not committed."),
    ("AIOKafkaConsumerThread.app", "App", "For the settings."),
    ("AIOKafkaConsumerThread.call_thread", "async (self, fun, *args, **kwargs)",
     "Runs our seek on the thread that fetches.", "d1304f73"),
)  # fmt: skip

CONSUMER = _rows(
    "faust.transport.drivers.aiokafka.Consumer",
    ("__init__", "(self, *args, **kwargs)", "Extended by the offsets that are answered and stored."),
    ("app", "App", "For the settings, the source and the flow control."),
    ("_new_consumer_thread", "(self)", "Overridden: makes our thread.", "8fd0d41b"),
    ("assignment", "(self)", "The partitions that are sought after a recovery."),
    ("_thread", "AIOKafkaConsumerThread", "Our thread, asked for the last heartbeat and to seek."),
    ("commit", "async (self, topics=None, start_new_transaction=True)",
     "Commits what is stored; it returns at once where another commit is under way.", "e43a7d03"),
    ("force_commit", "async (self, topics=None, start_new_transaction=True)",
     "It asks `_filter_tps_with_pending_acks` which partitions to commit.", "464b62ae",
     "_filter_tps_with_pending_acks"),
    ("_commit_tps", "async (self, tps, start_new_transaction)", "It calls `_commit_offsets`.", "b83d551c",
     "_commit_offsets"),
    ("_filter_committable_offsets", "(self, tps)", "It asks `_new_offset` for each partition's offset.", "4fb75ba6",
     "_new_offset"),
    ("_should_commit", "(self, tp, offset)", "It compares an offset with `_committed_offset`.", "91d8eb1e",
     "_committed_offset"),
    ("_filter_tps_with_pending_acks", "(self, topics=None)", "Overridden: partitions with stored clicks.", "cccdca32"),
    ("_new_offset", "(self, tp)", "Overridden: the offset that is stored, where Faust counts acknowledgements."),
    ("_commit_offsets", "async (self, offsets, start_new_transaction=True)",
     "Extended: it counts offsets as committed even if the broker refused them, and we take that back.", "86b3e9b0"),
    ("_committed_offset", "defaultdict", "The last committed offsets, which we set after a seek or a refused commit."),
    ("_read_offset", "defaultdict", "We forget a partition's when it is revoked."),
    ("_active_partitions", "set", "We take revoked partitions out."),
    ("_paused_partitions", "set", "We take revoked partitions out."),
    ("_on_partitions_revoked", "async (revoked)",
     "The app's callback, which we await before partitions are forgotten."),
    ("on_partitions_revoked", "async (self, revoked)",
     "Overridden: finish and commit first, then forget the partitions.", "652177e7"),
    ("on_partitions_assigned", "async (self, assigned, generation_id=0)",
     "It replaces the active partitions before the app's callback runs.", "c07feb11", "_get_active_partitions"),
    ("on_stop", "async (self)", "It calls `wait_empty` at shutdown.", "017029bc", "wait_empty"),
    ("wait_empty", "async (self)", "Overridden: waits until the micro-batches under way are stored, then commits.",
     "53195dca"),
    ("verify_event_path", "(self, now, tp)", "Overridden: it looks at acknowledgements that are not used."),
    ("seek_to_committed", "async (self)", "Extended: asked again until the broker answers.", "6c17ae1d"),
    ("seek", "async (self, partition, offset)", "It calls `_seek`.", "7c61d5bd", "_seek"),
    ("_seek", "async (self, partition, offset)", "Overridden: seeks on the thread that fetches.", "3343eefa"),
    ("perform_seek", "async (self)",
     "Overridden: also rewinds partitions without a committed offset, and tells the source where to go on.",
     "2b4ceebd"),
    ("_drain_messages", "async (self, fetcher)", "Overridden: passes whole fetches on to the source.", "8f35dd7a"),
    ("_getmany", "async (self, active_partitions, timeout)", "Fetches records.", "8dbffecc"),
    ("_get_active_partitions", "(self)", "The partitions to fetch from."),
    ("flow_active", "bool", "Nothing is fetched or taken while it is False."),
    ("can_resume_flow", "Event", "Fetching waits for it."),
    ("suspend_flow", "Event", "Passing records on ends when it is set."),
    ("stop_flow", "(self)", "It sets `flow_active` and both events.", "aa77389d", "flow_active"),
    ("resume_flow", "(self)", "It sets `flow_active` and both events.", "192f20bc", "flow_active"),
    ("consumer_stopped_errors", "tuple", "What a fetch raises once the consumer is closed."),
)  # fmt: skip

FETCHER = _rows(
    "faust.transport.consumer.Fetcher",
    ("_fetcher", "task async (self)",
     "It runs `_drain_messages`, and takes a cancellation in a rebalance for a crash.", "64ea6297", "_drain_messages"),
)  # fmt: skip

ASSIGNOR = [
    Row("faust.assignor.PartitionAssignor", "class", "The base of our assignor."),
    *_rows(
        "faust.assignor.partition_assignor.PartitionAssignor",
        ("app", "App", "For the settings."),
        ("assign", "(self, cluster, member_metadata)", "Extended: clicks and changelog have equal counts.", "beb0e309"),
        ("_get_copartitioned_groups", "(topics, cluster, subscriptions)",
         "It asks the cluster for partitions_for_topic, and for nothing else.", "76de3cb3", "partitions_for_topic"),
        ("_get_client_metadata", "(metadata)", "Reads what a member had.", "9ab283a7"),
    ),
]  # fmt: skip

RECOVERY = [
    *_rows(
        "faust.tables.manager.TableManager",
        ("recovery", "property", "Overridden: makes our recovery.", "9e5e1044"),
        ("_recovery", "NoneType", "Where Faust keeps its recovery, to stop it at shutdown."),
        ("app", "App", "Passed on to the recovery."),
        ("actives_ready", "bool", "A worker is ready once it is True."),
        ("on_rebalance", "async (self, assigned, revoked, newly_assigned, generation_id=0)",
         "It opens the stores before it tells the recovery.", "fc9b70e0", "_restart_recovery"),
    ),
    *_rows(
        "faust.tables.recovery",
        ("RebalanceAgain", "class", "Raised by `_wait` when another rebalance began."),
        ("ServiceStopped", "class", "Raised by `_wait` at shutdown and after a time-out."),
        ("Recovery.__init__", "(self, app, tables, **kwargs)",
         "Called with the app, the table manager, beacon and loop.",
         "", "BulkRecovery"),
        ("Recovery.app", "App", "For the settings and the group's generation."),
        ("Recovery._restart_recovery", "task async (self)", "Overridden: our way of reading the changelog.",
         "f93138b0"),
        ("Recovery._slurp_changelogs", "task async (self)", "Overridden: nothing comes over Faust's queue."),
        ("Recovery._publish_stats", "task async (self)", "Overridden: its counters are not kept."),
        ("Recovery._set_recovery_started", "(self)", "Marks the app as in recovery.", "4a070fa9"),
        ("Recovery._wait", "async (self, coro, timeout=None)", "Awaits, and raises where a rebalance begins.",
         "768af810"),
        ("Recovery._generation_id", "int", "The generation that a recovery is for."),
        ("Recovery.signal_recovery_start", "property", "Set when partitions were assigned."),
        ("Recovery.active_tps", "set", "The changelog partitions to recover."),
        ("Recovery.on_recovery_completed", "async (self, generation_id=0)",
         "Resumes the clicks: it calls `perform_seek`, then starts the fetcher.", "895e7c41"),
        ("Recovery.on_rebalance", "async (self, assigned, revoked, newly_assigned, generation_id=0)",
         "It fills `active_tps` and sets `signal_recovery_start`.", "31030bc1", "signal_recovery_start"),
    ),
]  # fmt: skip

STORE = [
    *_rows(
        "faust.stores.rocksdb.Store",
        ("__init__", "(self, url, app, table, *, key_index_size=None, options=None, read_only=False, driver=None, "
         "**kwargs)", "Extended: the driver is rocksdict.", "9301bd0d"),
        ("_open_for_partition", "(self, partition)", "Overridden: our options of RocksDB.", "21bf6863"),
        ("_try_open_db_for_partition", "async (self, partition, max_retries=30, retry_delay=1.0, generation_id=0)",
         "It tries again while another process holds RocksDB's lock.", "1c325dd2", "_open_for_partition"),
        ("_db_for_partition", "(self, partition)", "The open RocksDB of a partition.", "abc42529"),
        ("_dbs", "dict", "The open ones by partition."),
        ("partition_path", "(self, partition)", "Its directory."),
        ("offset_key", "bytes", "The key of the changelog offset, which is no session."),
        ("persisted_offset", "(self, tp)", "Reads what we wrote under `offset_key`.", "6b4b2940"),
        ("assign_partitions", "async (self, table, tps, generation_id=0)", "It opens the active partitions.",
         "5fff1f6b",
         "_open_for_partition"),
        ("revoke_partitions", "(self, table, tps)", "It closes revoked partitions and keeps their files.",
         "0df43a07", "_dbs"),
    ),
    *_rows(
        "faust.Table",
        ("_new_store", "(self)", "Overridden: makes our store.", "0cad007d"),
        ("_new_store_by_url", "(self, url)", "The arguments that a store is made with.", "28b01ee9", "_new_store"),
        ("on_start", "async (self)", "Overridden: the changelog topic is not declared.", "818773d6"),
        ("persisted_offset", "(self, tp)", "Overridden: asks our store.", "5f6b37be"),
    ),
    Row("faust.types.transports.TransportT", "class", "A type annotation."),
]  # fmt: skip

MODE = [
    *_rows(
        "mode.Service",
        ("task", "(fun)", "Marks the background tasks of our recovery.", "", "BulkRecovery"),
        ("_init_subclass_tasks", "()", "Tasks are found by name, so that ours replace Faust's.", "360fdf7e",
         "_restart_recovery"),
        ("_get_tasks", "(self)", "Tasks are found by name, so that ours replace Faust's.", "9744a63c",
         "_restart_recovery"),
    ),
    Row("mode.utils.queues.FlowControlEvent", "class", "A type annotation."),
]  # fmt: skip

AIOKAFKA = [
    *_rows(
        "aiokafka",
        ("AIOKafkaConsumer._coordinator", "NoneType", "The group coordinator, whose heartbeats are watched."),
        ("client.AIOKafkaClient.send", "async (self, node_id, request, *, group=<ConnectionGroup.DEFAULT: 0>)",
         "Sends it.", "", "topic_identity"),
        ("client.AIOKafkaClient.get_random_node", "(self)", "The broker that it is sent to."),
        ("client.AIOKafkaClient.force_metadata_update", "(self)", "The group's leader then assigns what came back."),
        ("protocol.abstract.AbstractType", "class", "The base of our type for ids."),
        ("protocol.api.Request", "class", "The base of that request: it picks a version that the broker has."),
        ("protocol.api.Request.prepare", "(self, versions)", "It raises NotImplementedError where the broker has none.",
         "af9f578c", "topic_identity"),
        ("protocol.api.RequestStruct", "class", "The base of the request's version 10."),
        ("protocol.api.RequestStruct.FLEXIBLE_VERSION", "bool", "Set: headers of this version have tagged fields."),
        ("protocol.api.RequestStruct.__init_subclass__", "()", "It wants the five names that we define.", "",
         "API_KEY"),
        ("protocol.api.Response", "class", "The base of its response."),
        ("protocol.types.Boolean", "class", "In the layout of the request and its response."),
        ("protocol.types.CompactArray", "class", "As above."),
        ("protocol.types.CompactString", "class", "As above."),
        ("protocol.types.Int16", "class", "As above."),
        ("protocol.types.Int32", "class", "As above."),
        ("protocol.types.Schema", "class", "As above."),
        ("protocol.types.TaggedFields", "class", "As above."),
        ("AIOKafkaConsumer.start", "async (self)", "It sets `_coordinator`; its fetcher takes `_isolation_level`.",
         "5ba1baa3", "_coordinator"),
        ("AIOKafkaConsumer._isolation_level", "str", "Set to read_committed before the consumer is started."),
        ("AIOKafkaConsumer._fetcher", "NoneType", "Its `_update_fetch_positions` is watched, and its task."),
        ("AIOKafkaConsumer._subscription", "SubscriptionState", "Positions and ends of the partitions."),
        ("consumer.subscription_state.TopicPartitionState", "class",
         "We read `position`, `has_valid_position`, `lso`, and `timestamp`, the time of the last fetch.", "2b83334a",
         "_state_of"),
        ("consumer.fetcher.Fetcher._fetch_task", "Task", "The task that fetches: if it has ended, nothing does."),
        ("consumer.fetcher.Fetcher._update_fetch_positions", "async (self, assignment, node_id, tps)",
         "Replaced in the object: called where a partition has no position, as at an offset out of range.", "1dc02ecc"),
        ("consumer.fetcher.PartitionRecords", "class",
         "In the frames of an error: which batch was read, at `next_fetch_offset`.", "94aa0da0"),
        ("consumer.fetcher.PartitionRecords._tp", "TopicPartition", "The partition of that batch."),
        ("protocol.group.JoinGroupRequest", "class", "`UNKNOWN_MEMBER_ID` is a member's id once the group has lost it.",
         "61c9408b"),
        ("protocol.group.LeaveGroupRequest", "class", "Sent for a static member, which aiokafka does not do.",
         "48c67e6e"),
        ("AIOKafkaConsumer._client", "AIOKafkaClient", "Knows the addresses that the brokers advertise."),
        ("conn.AIOKafkaConnection", "class", "A type annotation."),
        ("conn.create_conn",
         "async (host, port, *, client_id='aiokafka', request_timeout_ms=40000, ssl_context=None, "
         "security_protocol='PLAINTEXT', max_idle_ms=None, on_close=None, sasl_mechanism=None, "
         "sasl_plain_username=None, sasl_plain_password=None, sasl_kerberos_service_name='kafka', "
         "sasl_kerberos_domain_name=None, sasl_oauth_token_provider=None)",
         "Connects to one listener, to find out why clients cannot use it."),
        ("conn.AIOKafkaConnection.send", "(self, request, expect_response=True)", "Sends it a request.", "",
         "create_conn"),
        ("protocol.admin.SaslHandShakeRequest", "class", "Asks a listener for its SASL mechanisms."),
        ("protocol.metadata.MetadataRequest", "class", "Asks a listener for the addresses that it advertises.",
         "0a258416"),
        ("AIOKafkaProducer.create_batch", "(self)", "Makes the batches that are sent as a whole."),
        ("AIOKafkaProducer.send_batch", "async (self, batch, topic, *, partition)", "Sends one."),
        ("ConsumerRebalanceListener.on_partitions_revoked", "(self, revoked)", "Overridden by the archiver."),
        ("ConsumerRebalanceListener.on_partitions_assigned", "(self, assigned)", "Overridden by the archiver."),
        ("producer.message_accumulator.BatchBuilder", "class", "A type annotation."),
        ("producer.message_accumulator.BatchBuilder.append", "(self, *, timestamp, key, value, headers=…)",
         "Adds a message, and returns None where it does not fit.", "65992902", "BatchBuilder"),
        ("partitioner.DefaultPartitioner.__call__", "(key, all_partitions, available)",
         "Finds a session's partition as Kafka's own clients do.", "f1834e24"),
        ("admin.config_resource.ConfigResource.__init__", "(self, resource_type, name, configs=None)",
         "Names a topic whose configuration is asked for."),
        ("admin.config_resource.ConfigResourceType.TOPIC", "ConfigResourceType", "The kind of such a name."),
        ("admin.AIOKafkaAdminClient.describe_configs", "async (self, config_resources, include_synonyms=False)",
         "We take its responses apart by position.", "45409737"),
        ("admin.AIOKafkaAdminClient.create_topics", "async (self, new_topics, timeout_ms=None, validate_only=False)",
         "We take its response apart by position.", "00e77e2f", "topic_errors"),
    ),
    *_rows(
        "aiokafka.protocol.api",
        ("RequestStruct.API_KEY", "int", "Which request it is."),
        ("RequestStruct.API_VERSION", "int", "Its version."),
        ("RequestStruct.RESPONSE_TYPE", "class", "How its response is read."),
        ("RequestStruct.SCHEMA", "Schema", "Its layout."),
        ("Response.API_KEY", "property", "Which request it answers."),
        ("Response.API_VERSION", "property", "Its version."),
        ("Response.SCHEMA", "Schema", "Its layout."),
    ),
    *_rows(
        "aiokafka.consumer.group_coordinator.GroupCoordinator",
        ("fetch_committed_offsets", "async (self, partitions)", "Committed offsets with the metadata of their commits.",
         "c83e0caf", "committed_here"),
        ("_do_heartbeat", "async (self)", "Replaced in the object: returns whether the broker acknowledged.",
         "5628cb32"),
        ("_do_rejoin_group", "async (self, subscription)",
         "Replaced in the object: an assignment that does not fit leads to another join.", "dfe054b3"),
        ("ensure_active_group", "async (self, subscription, prev_assignment)",
         "It calls `_do_rejoin_group` through the object, and tries again where that returns False.", "44c4b92c",
         "_do_rejoin_group"),
        ("_send_req", "async (self, request)", "Sends the request to leave to the coordinator.", "ca4ba174"),
        ("reset_generation", "(self)", "Forgets the member id, and asks for another join.", "3cb4a249"),
        ("_coordination_task", "Task", "The task that joins the group: if it has ended, nothing does."),
        ("_pending_exception", "NoneType", "An error for which the coordination waits until somebody takes it."),
        ("check_errors", "(self)", "Takes that error.", "c67ee34a"),
        ("_push_error_to_user", "(self, exc)", "It sets `_pending_exception`, and the coordination waits.", "8dce53d5",
         "_pending_exception"),
        ("_heartbeat_routine", "async (self)", "It calls `_do_heartbeat` through the object each time.", "a6c6710b",
         "_do_heartbeat"),
        ("_perform_assignment", "async (self, response)", "It calls the assignor's `assign` in the group's leader.",
         "db2edc93",
         "_holder_class"),
        ("_on_join_complete", "async (self, generation, member_id, protocol, member_assignment_bytes)",
         "It calls the assignor's `on_assignment`.", "186788a4", "_holder_class"),
    ),
    *_rows(
        "aiokafka.record.util",
        ("calc_crc32c", "(data)", "The checksum of RocksDB's log files, as of Kafka's batches."),
    ),
    *_rows(
        "aiokafka.client",
        ("ConnectionGroup", "class", "Connections are kept by broker and group.", "", "Renewal"),
        ("AIOKafkaClient._get_conn", "async (self, node_id, *, group=<ConnectionGroup.DEFAULT: 0>, no_hint=False)",
         "Replaced in the object by `Renewal.connection`, which does the same with our connections."),
        ("AIOKafkaClient._get_conn_lock", "property", "One connection is opened at a time."),
        ("AIOKafkaClient._conns", "dict", "The open connections, from which `send` takes them."),
        ("AIOKafkaClient._client_id", "str", "Set to the name of the client's role."),
        ("AIOKafkaClient._request_timeout_ms", "int", "Given to its connections."),
        ("AIOKafkaClient._connections_max_idle_ms", "int", "Given to its connections."),
        ("AIOKafkaClient._on_connection_closed", "(self, conn, reason)", "Given to its connections."),
        ("AIOKafkaClient.bootstrap", "async (self)",
         "It reads the attributes that `secured` sets, named as the options of a connection.", "", "secured"),
    ),
    *_rows(
        "aiokafka.conn",
        ("CloseReason", "class", "Why an old connection is closed.", "", "Renewal"),
        ("AIOKafkaConnection.send", "(self, request, expect_response=True)",
         "Extended: the answer to a login tells how long it is valid.", "", "Renewal"),
        ("AIOKafkaConnection.connect", "async (self)", "It logs in by `send`.", "", "Renewal"),
        ("AIOKafkaConnection.connected", "(self)", "Whether it is open."),
        ("AIOKafkaConnection._requests", "deque", "The requests that are not answered yet."),
        ("AIOKafkaConnection._do_sasl_handshake", "async (self)", "Sends `SaslAuthenticateRequest` by `send`.", "",
         "SaslAuthenticateRequest"),
    ),
    Row("faust.cli.faust.cli", "_Group", "Faust's command line, which `nextclick worker` calls."),
    Row("aiokafka.admin.AIOKafkaAdminClient._send_to_controller", "async (self, request)",
        "Stores passwords of SCRAM users in the local broker."),
    Row("aiokafka.protocol.types.CompactBytes", "class", "A field of that request."),
    Row("aiokafka.protocol.types.Int8", "class", "A field of that request."),
    Row("aiokafka.protocol.admin.SaslAuthenticateRequest", "class", "The request of a login."),
    Row("aiokafka.protocol.types.Int64", "class", "In the layout of the answer about the metadata quorum."),
    Row("aiokafka.protocol.admin.DescribeGroupsRequest_v3", "class",
        "Its layout: a request for what a client may do with a group."),
    Row("aiokafka.protocol.admin.DescribeGroupsResponse_v3", "class",
        "The answer to it, which aiokafka's own request does not read."),
    Row("aiokafka.conn.AIOKafkaConnection._versions", "dict",
        "The requests that the broker knows: `nextclick doctor` tells Kafka's version from them."),
    *_rows(
        "aiokafka.abc.AbstractTokenProvider",
        ("token", "async (self)", "Overridden: awaited for each login by OAUTHBEARER.", "", "TokenSource"),
        ("extensions", "(self)", "Overridden: the extensions of the login.", "", "TokenSource"),
    ),
    Row("aiokafka.abc.AbstractTokenProvider", "class", "The base of our sources of tokens."),
    *_rows(
        "aiokafka.coordinator",
        ("assignors.abstract.AbstractPartitionAssignor.name", "property", "Overridden: the lease's own assignor."),
        ("assignors.abstract.AbstractPartitionAssignor.assign", "(cluster, members)",
         "Overridden: the partition stays with the member that holds it."),
        ("assignors.abstract.AbstractPartitionAssignor.metadata", "(topics)",
         "Overridden: tells the group who holds the lease."),
        ("assignors.abstract.AbstractPartitionAssignor.on_assignment", "(assignment)", "Overridden: does nothing."),
        ("protocol.ConsumerProtocolMemberAssignment", "class", "Made by position: version, partitions, user data.",
         "44c63b54"),
        ("protocol.ConsumerProtocolMemberMetadata", "class", "Made by position: version, topics, user data.",
         "7a447588"),
    ),
]  # fmt: skip

NUMBA = _rows(
    "numba",
    ("np.arrayobj.make_array", "(array_type)", "Data pointer and strides of an array, inside an intrinsic."),
    ("core.cgutils.unpack_tuple", "(builder, tup, count=None)", "The strides of an array, inside an intrinsic."),
    ("core.cgutils.pointer_add", "(builder, ptr, offset, return_type=None)", "The address to prefetch."),
    ("core.cgutils.voidptr_t", "_TypedPointerType", "The type of that address."),
    ("core.cgutils.int32_t", "IntType", "Flags of a prefetch, and what sched_yield returns."),
    ("core.cgutils.intp_t", "IntType", "What is added to an atomic counter."),
    ("core.cgutils.get_or_insert_function", "(module, fnty, name)", "Declares llvm.prefetch and sched_yield."),
    ("core.cgutils.ir.FunctionType", "class", "The types of those functions; from llvmlite."),
    ("core.cgutils.ir.VoidType", "class", "What a prefetch returns; from llvmlite."),
    ("core.cgutils.ir.IRBuilder.atomic_rmw", "(self, op, ptr, val, ordering, name='')",
     "Adds to an atomic counter; from llvmlite."),
    ("core.cgutils.ir.IRBuilder.load_atomic", "(self, ptr, ordering, align, name='', typ=None)",
     "Reads an atomic counter; from llvmlite."),
    ("core.imputils.impl_ret_untracked", "(ctx, builder, retty, ret)", "Returns a number from an intrinsic."),
    ("core.base.BaseContext.get_dummy_value", "(self)", "Returns nothing from an intrinsic."),
    ("core.base.BaseContext.get_value_type", "(self, ty)", "The machine type of a float32."),
    ("core.dispatcher.Dispatcher.enable_caching", "(self)",
     "A function has its cache from now on; RuntimeError where there is no place for it.", "", "_uncached"),
    ("core.dispatcher.Dispatcher.stats", "property", "`cache_path`: where the machine code is.", "", "best_of_blocks"),
    ("core.codegen.CPUCodegen.magic_tuple", "(self)", "The type of CPU that machine code is for."),
    ("core.options.DefaultOptions.forceinline", "Mapping",
     "An option of njit: the machine code is the same whether it is compiled or comes from the cache."),
)  # fmt: skip

TORCH = _rows(
    "torch",
    ("_int_mm", "builtin_function_or_method", "int8 products of the quantised scorer, on a CPU with AVX-512."),
    ("backends.cpu.get_cpu_capability", "()", "Chooses the scorer by the CPU."),
    ("distributed.rendezvous.rendezvous", "(url, rank=-1, world_size=-1, **kwargs)",
     "The store of torchrun, over which processes say that they have begun or failed."),
)  # fmt: skip

ROWS = [
    *APP,
    *BOOT,
    *WORKER,
    *DRIVER,
    *CONSUMER,
    *FETCHER,
    *ASSIGNOR,
    *RECOVERY,
    *STORE,
    *MODE,
    *AIOKAFKA,
    *NUMBA,
    *TORCH,
]
