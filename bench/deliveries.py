"""A year of deployments, for what is computed from many of them: made once in SQL, and kept.

Of every service releases go to two production environments, one after the other; each brings two changes. Of the
deployments 3 % fail with an impact and 3 % without, 4 % are hotfixes of the one before, 3 % are rolled back, and 3 %
have an incident.
"""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from bench import kept
from relman_server.kernel.db import schema

SCRIPT = """
INSERT INTO user_account (id, email, username, full_name, is_active, is_admin, is_auditor, token_version, created_at,
    updated_at, row_version)
    VALUES (md5('owner')::uuid, 'owner@example.com', 'owner', '', true, false, false, 1, now(), now(), 1);

INSERT INTO environment (id, name, description, environment_type, config_path, is_active, soak_seconds,
    required_approvals, approver_team_ids, allow_self_approval, approval_ttl_seconds, rollbacks_need_approval,
    lock_reason, created_at, updated_at, row_version)
    SELECT md5('environment' || e)::uuid, 'production-' || e, '', 'PRODUCTION', '', true, 0, 0, '[]', false, 1, false,
    '', now(), now(), 1 FROM generate_series(0, 1) e;

INSERT INTO service (id, name, description, repository_url, slack_channel, owner_id, is_active, created_at, updated_at,
    row_version)
    SELECT md5('service' || s)::uuid, 'service-' || lpad(s::text, 4, '0'), '', '', '', md5('owner')::uuid, true, now(),
    now(), 1 FROM generate_series(0, {services} - 1) s;

INSERT INTO release (id, service_id, version, status, release_notes, git_commit, changes, published_at,
    quarantine_reason, created_at, updated_at, row_version)
    SELECT md5('release' || s || '.' || r)::uuid, md5('service' || s)::uuid, '1.' || r || '.0', 'DEPLOYED', '',
    md5(s || '.' || r), '[]', now(), '', now(), now(), 1
    FROM generate_series(0, {services} - 1) s, generate_series(0, {releases} - 1) r;

CREATE TEMPORARY TABLE made AS
    SELECT s, r, e, random() AS fate, '{end}'::timestamptz - interval '364 days'
    + (interval '364 days' / {releases}) * (r + random() * 0.4 + e * 0.45) AS at
    FROM generate_series(0, {services} - 1) s, generate_series(0, {releases} - 1) r, generate_series(0, 1) e
    ORDER BY at;

INSERT INTO deployment (id, release_id, service_id, environment_id, status, kind, outcome, remediates, failure_reason,
    production_impacted, blockers, revision, deployed_at, completed_at, labels, hotfix_reason, created_at, updated_at,
    row_version)
    SELECT md5('deployment' || s || '.' || r || '.' || e)::uuid, md5('release' || s || '.' || r)::uuid,
    md5('service' || s)::uuid, md5('environment' || e)::uuid,
    CASE WHEN fate < 0.06 THEN 'FAILED' WHEN fate < 0.09 THEN 'ROLLED_BACK' ELSE 'SUCCEEDED' END,
    CASE WHEN fate > 0.96 AND r > 0 THEN 'HOTFIX' ELSE 'PLANNED' END,
    CASE WHEN fate < 0.06 THEN 'FAILED' ELSE 'SUCCEEDED' END,
    NULL, '', fate < 0.03, '[]', 1, at - interval '5 minutes', at, '{{}}', '', at, at, 1
    FROM made ORDER BY at;
UPDATE deployment d SET remediates = md5('deployment' || s || '.' || r - 1 || '.' || e)::uuid
    FROM made WHERE fate > 0.96 AND r > 0 AND d.id = md5('deployment' || s || '.' || r || '.' || e)::uuid;

INSERT INTO incident (id, service_id, environment_id, deployment_id, title, severity, detected_at, resolved_at,
    external_url, created_at, updated_at, row_version)
    SELECT gen_random_uuid(), md5('service' || s)::uuid, md5('environment' || e)::uuid,
    md5('deployment' || s || '.' || r || '.' || e)::uuid, 'Slow', 'ERROR', at + interval '9 minutes',
    at + interval '4 hours' * random() + interval '10 minutes', '', at, at, 1
    FROM made WHERE fate BETWEEN 0.5 AND 0.53;

INSERT INTO delivery_route (id, places)
    VALUES (md5('route')::uuid, replace(md5('environment0')::uuid::text, '-', ''));

INSERT INTO delivered_change (change_id, environment_id, service_id, deployment_id, delivered_at, committed_at, basis,
    route_id, is_opening)
    SELECT md5('change' || s || '.' || r || '.' || c)::uuid, md5('environment' || e)::uuid, md5('service' || s)::uuid,
    md5('deployment' || s || '.' || r || '.' || e)::uuid, at, at - interval '6 days' * random(), 'changes',
    CASE WHEN e = 1 THEN md5('route')::uuid END, r = min(r) OVER (PARTITION BY s, e)
    FROM made, generate_series(0, 1) c WHERE fate >= 0.06 ORDER BY at;

UPDATE deployment SET blamed = true
    WHERE id IN (SELECT deployment_id FROM incident UNION SELECT remediates FROM deployment);

DROP TABLE made;
"""


@dataclass(frozen=True)
class Deliveries:
    """How much there is.

    Attributes:
        services: How many.
        releases: Of each service; every one is deployed twice.
    """

    services: int
    releases: int
    end = "2026-11-01"
    """The year ends here."""

    @property
    def deployments(self) -> int:
        """In all."""
        return self.services * self.releases * 2

    @property
    def _script(self) -> str:
        return SCRIPT.format(services=self.services, releases=self.releases, end=self.end)

    def database(self) -> AbstractContextManager[str]:
        """Run a PostgreSQL that has them, and yield the URL of its database. The first time, they are made and kept."""
        made_by = hashlib.sha256(f"{self._script}{schema.newest()}".encode()).hexdigest()[:12]
        return kept.postgres(f"deliveries-{self.deployments}-{made_by}", self._make)

    def _make(self, database_url: str) -> None:
        engine = create_engine(database_url)
        schema.migrate(engine)
        engine.dispose()
        url = make_url(database_url).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(self._script)
            connection.execute("VACUUM ANALYZE")
