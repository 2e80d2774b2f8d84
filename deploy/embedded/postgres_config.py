"""The configuration of the embedded PostgreSQL: small, safe, and written anew at every start."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.embedded.ports import LOOPBACK


@dataclass(frozen=True)
class PostgresTuning:
    """What may differ between a home machine and a test; sizes in MiB.

    `fsync` False is for tests only: a power failure then loses the cluster.
    """

    shared_buffers: int = 24
    max_connections: int = 80
    fsync: bool = True


def render_postgresql_conf(port: int, tuning: PostgresTuning) -> str:
    """Return postgresql.conf: loopback TCP with SCRAM, no replication, one machine's worth of memory."""
    settings: dict[str, str | int] = {
        # A unix socket path ends at 107 bytes, data folders do not: TCP only.
        "listen_addresses": LOOPBACK,
        "port": port,
        "unix_socket_directories": "",
        "max_connections": tuning.max_connections,
        "superuser_reserved_connections": 3,
        "password_encryption": "scram-sha-256",
        "shared_buffers": f"{tuning.shared_buffers}MB",
        "huge_pages": "off",
        "work_mem": "4MB",
        "maintenance_work_mem": "32MB",
        "effective_cache_size": "256MB",
        # Parallel queries and I/O workers are processes, and each costs memory while it idles.
        "io_method": "sync",
        "max_worker_processes": 2,
        "max_parallel_workers": 0,
        "max_parallel_workers_per_gather": 0,
        "max_logical_replication_workers": 0,
        "autovacuum_max_workers": 2,
        # The queries are short and known: compiling one costs more than running it.
        "jit": "off",
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "wal_buffers": "2MB",
        "min_wal_size": "32MB",
        "max_wal_size": "512MB",
        "checkpoint_timeout": "10min",
        "fsync": _switch(tuning.fsync),
        "full_page_writes": _switch(tuning.fsync),
        # On even without fsync: otherwise a commit sits in the server's own memory, and SIGKILL loses it.
        "synchronous_commit": "on",
        # An open transaction holds back the watermark of every service of the cluster.
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "datestyle": "iso, ymd",
        # Version conflicts are part of the design: client errors would fill the log, the client has them anyway.
        "log_min_messages": "log",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
    }
    lines = [f"{name} = '{value}'" for name, value in settings.items()]
    return "# Rendered at every start.\n" + "\n".join(lines) + "\n"


def render_pg_hba_conf() -> str:
    """Return pg_hba.conf: nobody enters without a password, and only from this machine."""
    return f"host all all {LOOPBACK}/32 scram-sha-256\n"


def _switch(value: bool) -> str:
    return "on" if value else "off"
