"""``CdcSource``: one YAML file per source becomes its assets, checks, job and sensor."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import BaseModel

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.assets import drain_job, lake_assets, upstream_assets
from cdc_platform.orchestrate.checks import proof_checks
from cdc_platform.orchestrate.holding import pause_job, resume_job
from cdc_platform.orchestrate.sensor import keep_draining
from cdc_platform.orchestrate.upkeep import upkeep_job


class CdcSource(dg.Component):
    """A database whose collections are captured into lake tables, and proven to equal it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return Source

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> CdcSource:
        given: Any = attributes.model_dump(exclude_unset=True) if attributes else {}
        return cls(Source.model_validate(context.resolution_context.resolve_value(given)))

    def build_defs(self, context: dg.ComponentLoadContext | None) -> dg.Definitions:
        del context
        settings = Settings()
        lake = lake_assets(self.source, settings)
        checks = proof_checks(self.source, settings)
        job = dg.define_asset_job(
            f"verify_{self.source.name}",
            selection=dg.AssetSelection.checks(*checks),
            description=f"Prove that the lake equals {self.source.name}, at a cluster time.",
        )
        return dg.Definitions(
            assets=[*upstream_assets(self.source), lake],
            asset_checks=checks,
            jobs=[
                drain_job(self.source, lake),
                pause_job(self.source, settings),
                resume_job(self.source, settings),
                job,
                upkeep_job(self.source, settings),
            ],
            sensors=[keep_draining(self.source, settings)],
            executor=dg.in_process_executor,
        )
