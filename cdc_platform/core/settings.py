"""Where the platform's services are, from the environment (``CDC_*``); the defaults are the local stack's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _folder_or_address(given: object) -> object:
    """A folder is a path; an address stays a text, as a path would lose one of its slashes."""
    return Path(given) if isinstance(given, str) and "://" not in given else given


class Settings(BaseSettings):
    """Read once, at the edge of the program, and handed down."""

    model_config = SettingsConfigDict(env_prefix="CDC_", frozen=True)

    kafka_bootstrap: str = Field(default="127.0.0.1:29092", description="Kafka's bootstrap servers.")
    connect_url: str = Field(
        default="http://127.0.0.1:28083", pattern="^https?://", description="Kafka Connect's REST address."
    )
    registry_url: str = Field(
        default="http://127.0.0.1:28081/apis/ccompat/v7",
        pattern="^https?://",
        description="The schema registry's address, of the API that is Confluent's.",
    )
    connect_kafka_bootstrap: str = Field(
        default="", description="Kafka's bootstrap servers as Kafka Connect reaches them, if by others."
    )
    connect_registry_url: str = Field(
        default="", description="The schema registry's address as Kafka Connect reaches it, if by another."
    )
    connect_avro_converter: Literal["apicurio", "confluent"] = Field(
        default="apicurio", description="The Avro converter that Kafka Connect has."
    )
    lake_root: Annotated[Path | str, BeforeValidator(_folder_or_address)] = Field(
        default=Path(".cdc/lake"),
        description="Folder that holds the lake tables, or s3://<bucket>/<prefix>.",
    )
    iceberg_catalog: str = Field(
        default="",
        description="Name of the Iceberg catalog in pyiceberg's own configuration (.pyiceberg.yaml or "
        "PYICEBERG_CATALOG__<NAME>__URI). Without it an embedded one in the lake's folder is used, "
        "or in the state folder if the lake is in S3.",
    )
    state_dir: Path = Field(default=Path(".cdc"), description="Folder for locks and the local stack.")
    run_seconds: float = Field(
        default=600, gt=0, description="Seconds a staying run drains before its successor."
    )
    run_grace_seconds: float = Field(
        default=120,
        ge=0,
        description="Seconds a run out of time waits at most for its successor, draining on.",
    )
    run_idle_seconds: float = Field(
        default=30, gt=0, description="Seconds without a record after which a run ends."
    )
    record_seconds: float = Field(
        default=30, ge=0, description="Seconds between two records of a table in Dagster."
    )
    kafka_seconds: float = Field(default=10, gt=0, description="Seconds that Kafka has to answer a question.")
    proof_seconds: float = Field(
        default=90, gt=0, description="Seconds a proof waits for the lake to reach the source."
    )
    verify_offsets: int = Field(
        default=100_000,
        ge=0,
        description="Newest offsets of each partition that a check reads from Kafka again, at most.",
    )
