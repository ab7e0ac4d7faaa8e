"""Judge a service by AWS's conformance requirements, in the environment of their package, and print the verdicts.

    python official_judge.py GIVEN

GIVEN is a JSON file: `endpoint`, where the service is; `functions`, the function that answers each requirement, by its id;
`logs`, a file with what the functions have logged, one `[milliseconds, line]` a line; `folder`, where files may be written.
Printed is one JSON object: `requirements`, the ids of all there are, and `verdicts`, by id what is wrong, `errors`, nothing when
it passes, and the `seconds` it took. Requirements without a function are not judged.

Everything that decides is the package's own: what is expected is read from it, invoked, polled, answered, matched and
compared by it. What is different here is where the facts come from:

- Functions are found by name, not through CloudFormation.
- Histories are polled ten times as often as in AWS.
- Logs are those of the file, and looked at without the wait for CloudWatch to have them.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from aws_durable_execution_conformance_tests.clients import AwsClients
from aws_durable_execution_conformance_tests.cloudwatch import CloudWatchLogValidator
from aws_durable_execution_conformance_tests.config import TESTS_DIR
from aws_durable_execution_conformance_tests.sam import Invoker
from aws_durable_execution_conformance_tests.validate import discover_suites, discover_test_files, validate_description
from aws_durable_execution_conformance_tests.variables import PlaceholderContext
from botocore.config import Config

AT_ONCE = 12
"""How many requirements are judged at once; most of their time is spent waiting."""
POLL_SECONDS = 0.1
LOG_SECONDS = 5.0
"""How long a line that is expected may take from the function's process to the file."""
REGION = "us-east-1"
NOT_OURS = frozenset({"plugin"})
"""Suites about hooks inside an SDK, which no service sees."""


class ByName(Invoker):
    """Finds functions by their own name, and keeps the execution that it has started."""

    execution_arn: str | None = None

    def _resolve_function(self, logical_id: str) -> str:
        return logical_id

    def _invoke_boto3(self, function_name: str, event_file_path: str | None, invocation_type: str) -> Any:
        result = super()._invoke_boto3(function_name, event_file_path, invocation_type)
        self.execution_arn = json.loads(result.output).get("DurableExecutionArn")
        return result


@dataclass(frozen=True)
class Judge:
    """What judges one requirement after the other.

    Args:
        client: boto3's, of the service.
        logs: the file of what the functions have logged.
        folder: where files may be written.
    """

    client: Any
    logs: Path
    folder: Path

    def verdict(self, id_: str, file: str, function: str) -> dict[str, Any]:
        began = time.monotonic()
        requirement = yaml.safe_load(Path(file).read_text("utf-8"))
        expected_logs = requirement.pop("ExpectedLogs", ())
        asked = self.folder / f"{id_}.yaml"
        asked.write_text(yaml.safe_dump({**requirement, "AsyncConfig": {"PollIntervalSeconds": POLL_SECONDS}}), "utf-8")
        invoker = ByName(stack_name="here", region=REGION, lambda_client=self.client)
        found = validate_description(
            function_name=function,
            description_id=id_,
            test_file=str(asked),
            invoker=invoker,
            tmp_dir=str(self.folder),
            region=REGION,
            aws_clients=AwsClients({"lambda": self.client}),
            output_dir=str(self.folder / "histories"),
        )
        errors = found.errors
        if not errors and expected_logs:
            errors = self.log_errors(expected_logs, invoker.execution_arn, found.placeholders)
        if invoker.execution_arn:
            self.stop(invoker.execution_arn)
        return {"errors": errors, "seconds": round(time.monotonic() - began, 1)}

    def log_errors(self, expected: list[Any], arn: str | None, placeholders: dict[str, Any]) -> list[str]:
        context = PlaceholderContext()
        for name, value in placeholders.items():
            context.bind(name, value)
        deadline = time.monotonic() + LOG_SECONDS
        while True:
            result = CloudWatchLogValidator().validate(expected, self.lines(arn), context)
            if result.success or time.monotonic() > deadline:
                return list(result.errors)
            time.sleep(POLL_SECONDS)

    def lines(self, arn: str | None) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for text in self.logs.read_text("utf-8").splitlines():
            milliseconds, line = json.loads(text)
            with contextlib.suppress(ValueError):
                if json.loads(line).get("executionArn") == arn:
                    events.append({"message": line, "timestamp": milliseconds, "ingestionTime": milliseconds})
        return events

    def stop(self, arn: str) -> None:
        if self.client.get_durable_execution(DurableExecutionArn=arn)["Status"] == "RUNNING":
            self.client.stop_durable_execution(DurableExecutionArn=arn)


def requirements() -> dict[str, str]:
    """Return the files of all requirements but those of an SDK's own, by id."""
    suites = [suite for suite in discover_suites(TESTS_DIR) if suite not in NOT_OURS]
    return dict(sorted(discover_test_files(TESTS_DIR, suites).items()))


def judged(given: dict[str, Any], client: Any) -> dict[str, Any]:
    """Return the verdict on each requirement that a function is given for."""
    judge = Judge(client=client, logs=Path(given["logs"]), folder=Path(given["folder"]))
    functions = given["functions"]
    asked = [(id_, file, functions[id_]) for id_, file in requirements().items() if id_ in functions]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = pool.map(lambda one: judge.verdict(*one), asked)
        return {id_: verdict for (id_, _, _), verdict in zip(asked, verdicts, strict=True)}


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    client = boto3.client(
        "lambda",
        endpoint_url=given["endpoint"],
        region_name=REGION,
        aws_access_key_id="here",
        aws_secret_access_key="here",
        config=Config(read_timeout=300, retries={"total_max_attempts": 1}, max_pool_connections=2 * AT_ONCE),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # the package tells there how it goes
        found = {"requirements": list(requirements()), "verdicts": judged(given, client)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
