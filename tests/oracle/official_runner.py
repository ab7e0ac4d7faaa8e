"""Run our handler on AWS's own testing SDK, in its environment, and print how each execution ended.

    python official_runner.py PLANS

PLANS is a JSON file: for each scenario its compiled plan and those of its children. The testing SDK is an independent
implementation of the service, so what ends alike there and here does not only agree with ourselves. Its handlers get
an event object instead of a dictionary and its client is no boto3 client; both differences are bridged here.

Printed is one JSON object: for each scenario how it ended, once with the state in one page and once in many.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aws_durable_execution_sdk_python.lambda_service import OperationUpdate
from aws_durable_execution_sdk_python_testing.exceptions import AwsApiException
from aws_durable_execution_sdk_python_testing.runner import DurableFunctionTestRunner
from conformance.scenarios import HANDLERS, SCENARIOS, CardDeclined, Scenario, ended, targets

from durableflow import plan, values
from durableflow.aws import lambda_handler

# The runner names an error by its class's full name unless that is built in; Lambda's Python runtime by the bare name.
CardDeclined.__module__ = "builtins"

WHOLE_STATE, SMALL_PAGES = 5 * 1024 * 1024, 1  # bytes of payloads; a page holds one operation at least


class RefusedError(Exception):
    """An API error in the shape that boto3 gives it."""

    def __init__(self, error: AwsApiException) -> None:
        super().__init__(str(error))
        self.response = {
            "Error": {"Code": type(error).__name__, "Message": str(error)},
            "ResponseMetadata": {"HTTPStatusCode": error.http_status_code},
        }


class Client:
    """boto3's two methods over the client that the runner injects."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.pages = 0

    def checkpoint_durable_execution(self, **members: Any) -> dict[str, Any]:
        updates = [OperationUpdate.from_dict(update) for update in members["Updates"]]
        try:
            reply = self._client.checkpoint(
                members["DurableExecutionArn"], members["CheckpointToken"], updates, members["ClientToken"]
            )
        except AwsApiException as error:
            raise RefusedError(error) from error
        state = reply.new_execution_state
        return {
            "CheckpointToken": reply.checkpoint_token,
            "NewExecutionState": {
                "Operations": [operation.to_dict() for operation in state.operations],
                "NextMarker": state.next_marker,
            },
        }

    def get_durable_execution_state(self, **members: Any) -> dict[str, Any]:
        self.pages += 1
        try:
            page = self._client.get_execution_state(
                members["DurableExecutionArn"], members["CheckpointToken"], members["Marker"], members["MaxItems"]
            )
        except AwsApiException as error:
            raise RefusedError(error) from error
        return {"Operations": [o.to_dict() for o in page.operations], "NextMarker": page.next_marker}


class Official:
    """Executions of one scenario on the official runner."""

    def __init__(self, plans: dict[str, Any]) -> None:
        self._plans = plans
        self.pages = 0

    def _handler(self, name: str) -> Any:
        compiled = plan.from_json(self._plans[name])

        def handle(event: Any, context: Any) -> Any:
            client = Client(event.service_client)
            output = lambda_handler(compiled, client=client, handlers_root=HANDLERS)(event.to_json_dict(), context)
            self.pages += client.pages
            return output

        return handle

    def run(self, scenario: Scenario, page_bytes: int) -> dict[str, Any]:
        handler = self._handler("")
        with DurableFunctionTestRunner(
            handler=handler, poll_interval=0.005, max_invocation_page_bytes=page_bytes
        ) as runner:
            for name, function in targets().items():
                runner.register_function(name, lambda payload, _, function=function: function(payload))
            for name in scenario.children:
                runner.register_durable_function(name, self._handler(name))
            arn = runner.run_async(input=values.to_text(scenario.input), execution_timeout=600)
            result = runner.wait_for_result(execution_arn=arn, timeout=60)
            operations = [operation.to_dict() for operation in runner._store.load(arn).operations]
        output = {"Status": result.status.value, "Result": result.result}
        if result.error:
            output["Error"] = {"ErrorType": result.error.type, "ErrorMessage": result.error.message}
        return asdict(ended(output, operations))


def main() -> None:
    logging.disable(logging.CRITICAL)
    plans = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    made = {}
    for name, scenario in SCENARIOS.items():
        official = Official(plans[name])
        whole = official.run(scenario, WHOLE_STATE)
        official.pages = 0
        made[name] = {"whole": whole, "in_pages": official.run(scenario, SMALL_PAGES), "pages_read": official.pages}
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
