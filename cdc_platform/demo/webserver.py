"""The Dagster webserver of the demo, driven over its GraphQL API as a browser drives it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from cdc_platform.core.errors import Terminal, Transient

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
_LOCATIONS = """
{ repositoriesOrError {
    __typename
    ... on RepositoryConnection { nodes { name location { name } pipelines { name } } }
    ... on PythonError { message } } }"""
_STATUS = """
query Status($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"""
_FAILURE = """
query Failure($id: ID!) {
  runOrError(runId: $id) {
    ... on Run { eventConnection(limit: 1000) { events { __typename ... on RunFailureEvent { message } } } }
  }
}"""
_CHECK = """
query Check($key: AssetKeyInput!, $name: String!) {
  assetCheckExecutions(assetKey: $key, checkName: $name, limit: 20) {
    runId
    status
    evaluation {
      success
      description
      metadataEntries {
        label
        ... on TextMetadataEntry { text }
        ... on IntMetadataEntry { intValue }
        ... on FloatMetadataEntry { floatValue }
        ... on JsonMetadataEntry { jsonString }
      }
    }
  }
}"""
PATIENCE = 120.0
"""Seconds for one answer: beside all else that runs on a small machine it may take long to plan a run."""

_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


CheckPath = tuple[Sequence[str], str]
"""An asset's key and the name of a check of it."""


@dataclass(frozen=True, slots=True)
class CheckEvaluation:
    """``metadata``: values by label; ``passed`` is None when the check never ended."""

    passed: bool | None
    metadata: dict[str, Any]


class Webserver:
    """A running webserver at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=PATIENCE)

    def jobs(self) -> set[str]:
        """All jobs; none until the code location is loaded. Raises Terminal if it does not load."""
        try:
            found = self._ask(_LOCATIONS)["repositoriesOrError"]
        except Transient:
            return set()
        if found["__typename"] == "PythonError":
            raise Terminal(f"the definitions do not load: {found['message']}", where=self.url)
        return {each["name"] for node in found["nodes"] for each in node["pipelines"]}

    def launch(self, job: str, checks: Sequence[CheckPath] = ()) -> str:
        """Start a run of a job, of these checks alone if there are any; returns the run's id."""
        nodes = self._ask(_LOCATIONS)["repositoriesOrError"]["nodes"]
        node = next(n for n in nodes if any(job == each["name"] for each in n["pipelines"]))
        selector = {
            "repositoryLocationName": node["location"]["name"],
            "repositoryName": node["name"],
            "pipelineName": job,
        }
        if checks:
            chosen = [{"assetKey": {"path": list(path)}, "name": name} for path, name in checks]
            selector |= {"assetSelection": [], "assetCheckSelection": chosen}
        launched = self._ask(_LAUNCH, params={"selector": selector, "mode": "default"})["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise Terminal(f"Dagster did not start {job}: {launched}", where=self.url)
        return str(launched["run"]["runId"])

    def wait(self, run_id: str, seconds: float) -> str:
        """The run's final status. Raises Transient if it does not end in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (status := self._status(run_id)) in _ENDED:
                return status
            time.sleep(0.5)
        raise Transient(
            f"run {run_id} has not ended after {seconds:.0f} s",
            where=self.url,
            remedy="look at the run in the Dagster UI",
        )

    def failure(self, run_id: str) -> str:
        """Why a run failed, in Dagster's words; empty if it did not, or if they are not known."""
        found = self._ask(_FAILURE, id=run_id)["runOrError"].get("eventConnection") or {"events": []}
        return next((str(each["message"]) for each in found["events"] if each.get("message")), "")

    def check(self, path: Sequence[str], name: str, run_id: str) -> CheckEvaluation | None:
        """What a run found with an asset check, None if it did not make it. Others may make it, too."""
        made = self._ask(_CHECK, key={"path": list(path)}, name=name)["assetCheckExecutions"]
        found = [each for each in made if each["runId"] == run_id]
        if not found:
            return None
        evaluation = found[0]["evaluation"]
        entries = evaluation["metadataEntries"] if evaluation else []
        return CheckEvaluation(
            evaluation["success"] if evaluation else None,
            {entry["label"]: _value(entry) for entry in entries},
        )

    def _status(self, run_id: str) -> str:
        """Empty while it is not known."""
        try:
            return str(self._ask(_STATUS, id=run_id)["runOrError"].get("status"))
        except Transient:
            return ""

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Raises Transient if there is no answer: it may not be up yet, or have too much to do."""
        try:
            answer = self._client.post("/graphql", json={"query": query, "variables": variables})
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Transient(f"Dagster's webserver did not answer: {error}", where=self.url) from error
        body = answer.json()
        if body.get("errors"):
            raise Terminal(f"Dagster refused a query: {body['errors'][0]['message']}", where=self.url)
        data: dict[str, Any] = body["data"]
        return data


def _value(entry: dict[str, Any]) -> Any:
    if "jsonString" in entry:
        return orjson.loads(entry["jsonString"])
    return next((entry[name] for name in ("text", "intValue", "floatValue") if name in entry), None)
