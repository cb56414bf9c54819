"""Runs the suites through a Great Expectations checkpoint, builds Data Docs, and says in words what failed."""

import math
import shutil
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

from components.core.errors import SightlineError
from components.validation.suites import KEYS

EXAMPLES = 5
_OUT_OF_KWARGS = ("batch_id", "row_condition", "condition_parser")


def check(views: dict[str, pd.DataFrame], suites: dict[str, gx.ExpectationSuite], docs: Path | None) -> dict[str, Any]:
    """Validates each table's view against its suite; builds Data Docs anew in `docs` (index.html) unless it is None.

    Returns {success, suites: {table: {expectations, success, failed}}}, `failed` a list of {says, expectation, kwargs,
    observed, remedy}. Nothing in it depends on when or where it ran, nor, where all is well, on the bounds.
    """
    context = _context(docs)
    source = context.data_sources.add_pandas("sightline")
    found = {}
    for table, suite in suites.items():
        batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe(table)
        definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(suite))
        checkpoint = gx.Checkpoint(
            name=table,
            validation_definitions=[context.validation_definitions.add(definition)],
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": [KEYS[table]],
                "partial_unexpected_count": EXAMPLES,
            },
        )
        outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": views[table]})
        found[table] = _summary(next(iter(outcome.run_results.values())))
    if docs is not None:
        shutil.rmtree(docs, ignore_errors=True)
        context.build_data_docs()
    return {"success": all(table["success"] for table in found.values()), "suites": found}


def _context(docs: Path | None):
    """An in-memory context whose one Data Docs site is `docs`; by default there would be a second, temporary one."""
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": store}
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        data_docs_sites={} if docs is None else {"local": site},
        analytics_enabled=False,
        progress_bars={"globally": False},
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _summary(result) -> dict[str, Any]:
    failed = [_failure(one) for one in result.results if not one.success]
    failed.sort(key=lambda failure: (failure["says"], failure["expectation"]))
    return {"expectations": len(result.results), "success": not failed and bool(result.success), "failed": failed}


def _failure(result) -> dict[str, Any]:
    config = result.expectation_config
    return {
        "says": config.description,
        "expectation": config.type,
        "kwargs": {key: _plain(value) for key, value in sorted(config.kwargs.items()) if key not in _OUT_OF_KWARGS},
        "observed": _observed(result),
        "remedy": config.meta["remedy"],
    }


def _observed(result) -> Any:
    """What was found: one value for a figure of the whole column, counts and first examples for one of its rows."""
    body = result.result or {}
    if not body:  # the expectation could not be computed at all
        messages = sorted(str(info.get("exception_message")) for info in _exceptions(result.exception_info))
        return {"error": "; ".join(messages) or "could not be computed"}
    if "unexpected_count" not in body:
        missing = body.get("partial_missing_list")
        return {"missing": _plain(missing)} if missing else _plain(body.get("observed_value"))
    rows = body.get("partial_unexpected_index_list") or []
    return {
        "rows": int(body["element_count"]),
        "unexpected": int(body["unexpected_count"]),
        "examples": [{name: _plain(value) for name, value in sorted(row.items())} for row in rows[:EXAMPLES]],
    }


def _exceptions(info: dict) -> list[dict]:
    return [info] if "exception_message" in info else [value for value in info.values() if isinstance(value, dict)]


def _plain(value: Any) -> Any:
    """The value as JSON has it; figures that are no number become text."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (list, tuple, set)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def words(table: str, failure: dict[str, Any]) -> str:
    """One failed expectation as a line: table, what was expected, what was found, the bound, the expectation's name."""
    kwargs, observed = failure["kwargs"], failure["observed"]
    bounds = {"min_value": "at least", "max_value": "at most", "value": "exactly", "value_set": "among"}
    if kwargs.get("strict_min"):
        bounds["min_value"] = "more than"
    allowed = ", ".join(f"{word} {_short(kwargs[key])}" for key, word in bounds.items() if kwargs.get(key) is not None)
    if isinstance(observed, dict) and "missing" in observed:
        observed = f"nothing of {observed['missing']}"
    elif isinstance(observed, dict) and "unexpected" in observed:
        rows = (" ".join(f"{name}={value}" for name, value in row.items()) for row in observed["examples"])
        observed = f"{observed['unexpected']} of {observed['rows']} rows are not ({'; '.join(rows)})"
    column = f" {kwargs['column']}" if "column" in kwargs else ""
    must = f" (must be {allowed})" if allowed else ""
    return f"{table}: {failure['says']}: found {_short(observed)}{must} [{failure['expectation']}{column}]"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def refuse(report: dict[str, Any], docs: Path) -> SightlineError:
    """The error that lists every failed expectation of a report, and each remedy once."""
    failures = [(table, failure) for table, one in report["suites"].items() for failure in one["failed"]]
    lines = "\n".join(f"  - {words(table, failure)}" for table, failure in failures)
    remedies = list(dict.fromkeys(failure["remedy"] for _, failure in failures))
    count = f"{len(failures)} expectation{'s' * (len(failures) != 1)}"
    problem = f"the data does not meet {count} (see {docs / 'index.html'})\n{lines}"
    return SightlineError(problem, "\n          ".join(remedies))
