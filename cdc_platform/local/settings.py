"""What can be set about the local stack. Every setting is an environment variable `CDC_<NAME>`.

Invariant: nothing else in this package decides anything by the environment, so two stacks in one process
(tests) cannot disturb one another.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cdc_platform.core.sizes import MAX_RECORD_BYTES


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cdc-platform"


class StackSettings(BaseSettings):
    """Ports, directories and sizes of the local stack. A port of 0 means "any free port"."""

    model_config = SettingsConfigDict(env_prefix="CDC_", frozen=True, extra="ignore")

    state_dir: Path = Field(default=Path(".cdc"), description="data, logs and run files of the stack")
    cache_dir: Path = Field(
        default_factory=_user_cache, description="fetched components, shared by all stacks"
    )

    mongodb_port: int = Field(default=27117, ge=0, le=65535)
    kafka_port: int = Field(default=29092, ge=0, le=65535)
    kafka_controller_port: int = Field(default=29093, ge=0, le=65535)
    connect_port: int = Field(default=28083, ge=0, le=65535)
    postgresql_port: int = Field(default=25432, ge=0, le=65535)
    mariadb_port: int = Field(default=23306, ge=0, le=65535)
    registry_port: int = Field(default=28081, ge=0, le=65535)

    mongodb_cache_gb: float = Field(default=0.5, ge=0.25, description="WiredTiger's cache, GB")
    kafka_heap_mb: int = Field(default=512, ge=256)
    connect_heap_mb: int = Field(default=768, ge=256)
    registry_heap_mb: int = Field(default=192, ge=128)
    max_message_bytes: int = Field(
        default=MAX_RECORD_BYTES,
        description="largest event; a 16 MB change is JSON text inside JSON text in it",
    )

    start_timeout_s: float = Field(
        default=120.0, gt=0, description="how long one component may take to become ready"
    )
    stop_grace_s: float = Field(default=20.0, gt=0, description="between SIGTERM and SIGKILL")
