"""What both databases must answer: a small library, and queries with the titles they find, in their order."""

from typing import Any

LIBRARY: tuple[dict[str, Any], ...] = (
    {
        "title": "Kafka consumer lag",
        "tags": ["messaging"],
        "content": "# Symptoms\nConsumers are lagging behind.\n\n1. Restart the consumer pods.\n2. Add partitions.",
    },
    {
        "title": "Broker disk full",
        "tags": ["kafka", "storage"],
        "content": "Delete old segments, then restart the broker. Retention may be too long.",
    },
    {
        "title": "Restarting a service",
        "tags": ["basics"],
        "content": "Use `kubectl rollout restart`. A restart drops connections; kafka clients connect again.",
    },
    {
        "title": "Database connection pool exhausted",
        "tags": ["database", "on-call"],
        "content": "The pool of connections is exhausted. Look for leaks: connections that are never closed.",
    },
    {
        "title": "Slow queries",
        "tags": ["database"],
        "content": "A query that scans a table exhausts the pool. Connection counts rise. Run EXPLAIN.",
    },
    {
        "title": "Pod not ready",
        "tags": ["kubernetes"],
        "content": "The readiness probe fails with exit code 137: the pod is out of memory. Raise its memory limit.",
    },
    {
        "title": "Out of memory",
        "tags": ["kubernetes", "jvm"],
        "content": "OOMKilled. Memory, memory, memory: heap dumps tell. The ready pods not affected keep serving.",
    },
    {
        "title": "Café menu outage",
        "tags": ["menu"],
        "content": "Das Menü im Café fehlt: Ärger mit der Straße. 数据库连接失败 means no database.",
    },
    {
        "title": "Failover of the primary",
        "tags": ["database"],
        "content": "Databases fail over by themselves; happily, replicas are promoted. See kube-proxy and 10.0.0.1.",
    },
    {
        "title": "Certificates expire",
        "tags": ["tls"],
        "content": "Renew with `certbot --force-renewal`; then reload nginx. <script>alert('x & y')</script>",
    },
)

KAFKA, BROKER, RESTART, POOL, QUERIES, POD, MEMORY, CAFE, FAILOVER, TLS = (each["title"] for each in LIBRARY)

# query -> titles, the best first
QUERIES_AND_ANSWERS: dict[str, list[str]] = {
    # a title weighs over tags, tags over content
    "kafka": [KAFKA, BROKER, RESTART],
    "memory": [MEMORY, POD],
    "restart": [RESTART, BROKER, KAFKA],
    # a title that the query says in full before one that it says in part
    "out of memory": [MEMORY, POD],
    # words in any form, in any case, with or without accents
    "Databases": [POOL, FAILOVER, QUERIES, CAFE],
    "LAGGED": [KAFKA],
    "replica promoting": [FAILOVER],
    "cafe": [CAFE],
    "CAFÉ argerlich": [],
    "Ärger": [CAFE],
    "strasse": [CAFE],
    # every word must be there
    "kafka lag": [KAFKA],
    "kafka nothing": [],
    # phrases
    '"connection pool"': [POOL],
    '"exhausted pool"': [QUERIES],
    '"pool connection"': [POOL, QUERIES],
    '"connections pool"': [POOL],
    '"pod not ready"': [POD],
    '"ready pods not"': [MEMORY],
    '"exhausted" "pool of connections"': [POOL, QUERIES],
    '"lag messaging"': [],
    '"restart the broker': [BROKER],
    "kube-proxy": [FAILOVER],
    "10.0.0.1": [FAILOVER],
    "0.0.10": [],
    "数据库": [CAFE],
    "据库连": [CAFE],
    "库数": [],
    # beginnings
    "kaf*": [KAFKA, BROKER, RESTART],
    "k*": [KAFKA, MEMORY, POD, BROKER, RESTART, FAILOVER],
    "readi*": [POD],
    "lagging*": [KAFKA],
    "certif* exp*": [TLS],
    "数*": [CAFE],
    "zz*": [],
    # words to leave out
    "kafka -lag": [BROKER, RESTART],
    "database -kub*": [POOL, QUERIES, CAFE],
    'pool -"connection pool"': [QUERIES],
    "-database -memory -kafka": [TLS],
    "--force": [TLS],
    "kafka -kafka": [],
    # signs and operators are no operators here
    "kafka AND lag": [KAFKA],
    "kafka & lag | disk": [],
    "NOT kafka": [],
    "title:kafka": [],
    "kafka:*": [KAFKA, BROKER, RESTART],
    "(kafka": [KAFKA, BROKER, RESTART],
    "'kafka' ^ {lag}": [KAFKA],
    "NEAR(kafka lag, 2)": [],
    '"': [],
    '""': [],
    "-": [],
    "*": [],
    "!!! ??? \\": [],
    "the of and": [],
    "'; drop table runbook; --": [],
    "%": [],
    "_": [],
    "\U0001f4a5": [],
    # markup is text
    "script alert": [TLS],
}
