import logging

from messaging.clients import quiet_client_log


def test_the_client_s_log_comes_back_when_the_last_of_overlapping_blocks_ends() -> None:
    client = logging.getLogger("aiokafka")
    before = client.level
    first, second = quiet_client_log(), quiet_client_log()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not client.isEnabledFor(logging.CRITICAL)
    second.__exit__(None, None, None)
    assert client.level == before
