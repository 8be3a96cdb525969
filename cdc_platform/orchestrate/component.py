"""``CdcSource``: one YAML file per source becomes its assets, checks, jobs, schedules and sensor."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import BaseModel

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.discover import with_found
from cdc_platform.orchestrate.assets import drain_job, lake_assets
from cdc_platform.orchestrate.checks import proof_checks, proving
from cdc_platform.orchestrate.holding import pause_job, resume_job
from cdc_platform.orchestrate.judging import verify_job
from cdc_platform.orchestrate.keys import SOURCE_TAG
from cdc_platform.orchestrate.rebuilding import rebuild_job
from cdc_platform.orchestrate.reconciling import reconcile_job
from cdc_platform.orchestrate.reloading import rebuilds
from cdc_platform.orchestrate.repairing import repair_job
from cdc_platform.orchestrate.replaying import replay_job
from cdc_platform.orchestrate.retention import retention_job
from cdc_platform.orchestrate.schedules import Jobs, schedules
from cdc_platform.orchestrate.sensor import keep_draining
from cdc_platform.orchestrate.specs import upstream_specs
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
        source = Source.model_validate(context.resolution_context.resolve_value(given))
        rebuilds(source, context)
        return cls(source)

    def build_defs(self, context: dg.ComponentLoadContext | None) -> dg.Definitions:
        del context
        settings = Settings()
        source = with_found(settings, self.source)
        if not source.collections:  # globs alone, and nothing found yet: the sensor looks for it
            return dg.Definitions(sensors=[keep_draining(source, settings)])
        lake = lake_assets(source, settings)
        checks = proof_checks(source, settings)
        verify = dg.define_asset_job(
            verify_job(source),
            selection=dg.AssetSelection.checks(*checks),
            description=f"Look at all tables of {source.name}: does the lake equal the source at one cluster "
            f"time, is nothing missing, nothing late. What cannot be checked is never a pass. The run "
            f"fails if a check did, or, unless a schedule started it, if one could not be made.",
            tags={SOURCE_TAG: source.name},
        )
        kept = Jobs(
            upkeep_job(source, settings), verify, reconcile_job(source, settings), retention_job(source)
        )
        return dg.Definitions(
            assets=[*(spec for name in source.collections for spec in upstream_specs(source, name)), lake],
            asset_checks=checks,
            jobs=[
                drain_job(source, lake),
                pause_job(source, settings),
                resume_job(source, settings),
                replay_job(source, settings),
                rebuild_job(source, settings),
                repair_job(source, settings),
                kept.verify,
                kept.upkeep,
                kept.reconcile,
                kept.retention,
            ],
            schedules=schedules(source, kept),
            sensors=[keep_draining(source, settings), *proving(source)],
            executor=dg.in_process_executor,
        )
