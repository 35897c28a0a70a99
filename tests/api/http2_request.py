"""A request of HTTP/2, as bytes."""

from h2.config import H2Configuration
from h2.connection import H2Connection


def http2_request() -> bytes:
    """All that a client sends who asks for what is not there, with prior knowledge."""
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    headers = [(":method", "GET"), (":authority", "a"), (":scheme", "http"), (":path", "/nothing")]
    client.send_headers(1, headers, end_stream=True)
    return client.data_to_send()
