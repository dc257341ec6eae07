"""Every fault of a provider that both adapters must meet, and how it is told."""

from router_integrations.testing.replies import Fault

# The fault, the family it is told as, and how often one candidate is asked before the next.
BEFORE_THE_ANSWER = [
    (Fault("status", status=400, message="bad tool"), "bad_request", 1),
    (Fault("status", status=401), "authentication", 1),
    (Fault("status", status=403), "permission", 1),
    (Fault("status", status=404), "not_found", 1),
    (Fault("status", status=408), "timeout", 1),
    (Fault("status", status=413, message="request too large"), "context_overflow", 1),
    (Fault("status", status=429), "rate_limit", 3),
    (Fault("status", status=429, retry_after=30), "rate_limit", 1),
    (Fault("status", status=500), "server", 3),
    (Fault("status", status=503), "server", 3),
    (Fault("reset"), "connection", 3),
    (Fault("wrong_content_type"), "malformed", 3),
]
ONLY_WHOLE = [(Fault("empty_choices"), "malformed", 3), (Fault("truncated_json"), "malformed", 3)]
ONLY_STREAMED = [(Fault("empty_stream"), "malformed", 3)]
MID_STREAM = [
    Fault("truncated_stream", after_chunks=3),
    Fault("reset_stream", after_chunks=3),
    Fault("error_in_stream", after_chunks=3),
]
