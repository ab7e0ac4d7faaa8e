"""aws states against moto's services, and against a server of our own for what a service does only when things go wrong."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import EndpointConnectionError, NoRegionError, ReadTimeoutError
from botocore.session import get_session
from botocore.validate import ParamValidator
from moto import mock_aws

from durableflow import actions, parameters
from durableflow.actions import Actions, AllowList, Clients, check_action, fault_of, fetch_secret
from durableflow.errors import Fault
from durableflow.operations import error_from_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durableflow.values import Json

KEY = "0123456789abcdef0123456789abcdef"
EVERYTHING = AllowList(patterns=("*:*",))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture(scope="module")
def clients() -> Clients:
    # Models are read once; clients of moto and of other endpoints must not meet.
    return Clients()


@pytest.fixture
def aws() -> Iterator[Actions]:
    with mock_aws():
        yield Actions(allowed=EVERYTHING)


def perform(aws: Actions, call: str, timeout_seconds: float | None = None, /, **params: Json) -> Any:
    service, _, action = call.partition(".")
    return aws.perform(service, action, params, idempotency_key=KEY, timeout_seconds=timeout_seconds)


def fault(aws: Actions, call: str, timeout_seconds: float | None = None, /, **params: Json) -> Fault:
    with pytest.raises(Fault) as caught:
        perform(aws, call, timeout_seconds, **params)
    return caught.value


# The six services.


def test_dynamodb_keeps_numbers_as_the_text_they_are(aws: Actions) -> None:
    made = perform(
        aws,
        "dynamodb.create_table",
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert made["TableDescription"]["CreationDateTime"].endswith("Z")
    item = {"id": {"S": "o1"}, "total": {"N": "52.50"}, "tags": {"SS": ["a", "b"]}, "raw": {"B": {"$base64": "//79"}}}
    assert perform(aws, "dynamodb.put_item", TableName="orders", Item=item) == {}
    assert perform(aws, "dynamodb.get_item", TableName="orders", Key={"id": {"S": "o1"}}) == {"Item": item}


def test_dynamodb_says_what_failed_and_what_it_has(aws: Actions) -> None:
    test_dynamodb_keeps_numbers_as_the_text_they_are(aws)
    refused = fault(
        aws,
        "dynamodb.put_item",
        TableName="orders",
        Item={"id": {"S": "o1"}},
        ConditionExpression="attribute_not_exists(id)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    assert refused.name == "DynamoDB.ConditionalCheckFailedException"
    assert refused.message == "The conditional request failed"
    data: Any = refused.data
    assert (data["code"], data["status"]) == ("ConditionalCheckFailedException", 400)
    assert data["request_id"]
    assert data["details"]["Item"]["total"] == {"N": "52.50"}


def test_s3_takes_text_and_bytes_and_gives_them_back(aws: Actions) -> None:
    perform(aws, "s3.create_bucket", Bucket="reports")
    for body in ("Grüße", {"$base64": "//79"}, ""):
        perform(aws, "s3.put_object", Bucket="reports", Key="a/ü.json", Body=body)
        got = perform(aws, "s3.get_object", Bucket="reports", Key="a/ü.json")
        assert got["Body"] == body
    assert "ResponseMetadata" not in got
    perform(aws, "s3.copy_object", Bucket="reports", Key="b", CopySource={"Bucket": "reports", "Key": "a/ü.json"})
    listed = perform(aws, "s3.list_objects_v2", Bucket="reports", MaxKeys=10.0)
    assert [one["Key"] for one in listed["Contents"]] == ["a/ü.json", "b"]
    assert fault(aws, "s3.get_object", Bucket="reports", Key="c").name == "S3.NoSuchKey"
    assert fault(aws, "s3.head_object", Bucket="reports", Key="c").name == "S3.404"


def test_a_body_that_is_too_large_is_not_read(aws: Actions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "STREAM_MAX_BYTES", 100_000)
    perform(aws, "s3.create_bucket", Bucket="reports")
    perform(aws, "s3.put_object", Bucket="reports", Key="exact", Body="x" * 100_000)
    perform(aws, "s3.put_object", Bucket="reports", Key="larger", Body="x" * 100_001)
    assert len(perform(aws, "s3.get_object", Bucket="reports", Key="exact")["Body"]) == 100_000
    refused = fault(aws, "s3.get_object", Bucket="reports", Key="larger")
    assert (refused.name, refused.message) == ("States.DataLimitExceeded", "'Body' is larger than 100,000 bytes")


def test_sns_publishes_to_sqs(aws: Actions) -> None:
    topic = perform(aws, "sns.create_topic", Name="approvals")["TopicArn"]
    queue = perform(aws, "sqs.create_queue", QueueName="mails")["QueueUrl"]
    arn = perform(aws, "sqs.get_queue_attributes", QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    perform(aws, "sns.subscribe", TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sent = perform(aws, "sns.publish", TopicArn=topic, Subject="Approve", Message="7 €")
    (message,) = perform(aws, "sqs.receive_message", QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert sent["MessageId"] in message["Body"]
    assert fault(aws, "sns.publish", TopicArn=topic + "x", Message="7 €").name == "SNS.NotFound"
    missing = fault(aws, "sqs.get_queue_url", QueueName="none")
    assert missing.name == "SQS.AWS.SimpleQueueService.NonExistentQueue"


def test_secrets_manager_gets_the_states_key_as_its_token(aws: Actions) -> None:
    made = perform(aws, "secretsmanager.create_secret", Name="api", SecretString="s")
    assert made["VersionId"] == KEY
    own = "fedcba9876543210fedcba9876543210"
    made = perform(aws, "secretsmanager.put_secret_value", SecretId="api", SecretString="t", ClientRequestToken=own)
    assert made["VersionId"] == own


def test_ssm_gives_times_as_text(aws: Actions) -> None:
    perform(aws, "ssm.put_parameter", Name="/a", Value="v", Type="String")
    got = perform(aws, "ssm.get_parameter", Name="/a")["Parameter"]
    assert (got["Value"], got["Version"]) == ("v", 1)
    assert got["LastModifiedDate"][4] == "-"
    assert got["LastModifiedDate"].endswith("Z")
    assert fault(aws, "ssm.get_parameter", Name="/b").name == "SSM.ParameterNotFound"


def test_many_threads_share_the_clients(aws: Actions) -> None:
    perform(aws, "s3.create_bucket", Bucket="reports")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            perform(aws, "s3.put_object", Bucket="reports", Key=str(number), Body="x")
            perform(aws, "ssm.put_parameter", Name=f"/{number}", Value="v", Type="String")
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert perform(aws, "s3.list_objects_v2", Bucket="reports")["KeyCount"] == 8


# What is refused before a request.


@pytest.mark.parametrize(
    ("allowed", "permitted"),
    [
        (AllowList(pairs=frozenset({("s3", "put_object")})), True),
        (AllowList(pairs=frozenset({("s3", "get_object")})), False),
        (AllowList(), False),
        (AllowList(patterns=("s3:PutObject",)), True),
        (AllowList(patterns=("s3:putobject",)), True),
        (AllowList(patterns=("s3:Put*",)), True),
        (AllowList(patterns=("s3:*",)), True),
        (AllowList(patterns=("s3:PutObjectAcl", "sns:PutObject", "s3:put_object")), False),
    ],
)
def test_only_what_is_allowed_is_called(allowed: AllowList, permitted: bool) -> None:
    assert allowed.permits("s3", "put_object") is permitted


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        ("bedrock-runtime.converse", "bedrock:InvokeModel"),
        ("bedrock-runtime.converse", "bedrock-runtime:Converse"),
        ("lambda.invoke", "lambda:InvokeFunction"),
        ("s3.list_objects_v2", "s3:ListBucket"),
        ("s3.list_objects_v2", "s3:ListObjectsV2"),
        ("sesv2.send_email", "ses:SendEmail"),
        ("stepfunctions.start_execution", "states:StartExecution"),
    ],
)
def test_iams_names_are_understood(clients: Clients, call: str, pattern: str) -> None:
    service, _, action = call.partition(".")
    prefixes = clients.operation(service, action).prefixes
    assert AllowList(patterns=(pattern,)).permits(service, action, prefixes)
    assert not AllowList(patterns=(pattern + "x",)).permits(service, action, prefixes)


def test_a_refusal_by_the_list_is_a_matter_of_permissions(clients: Clients) -> None:
    refused = fault(Actions(allowed=AllowList(patterns=("s3:GetObject",)), clients=clients), "s3.put_object")
    assert refused.name == "States.Permissions"
    assert refused.message == "s3.put_object is not among the actions that the project allows"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("s4.put_object", "there is no AWS service 's4'"),
        ("s3.put_objects", "the service 's3' has no action 'put_objects'"),
        ("s3.upload_file", "the service 's3' has no action 'upload_file'"),
        ("kinesis.subscribe_to_shard", "kinesis.subscribe_to_shard exchanges a stream of events, which an aws state cannot"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_at_all_is_a_fault_of_the_definition(clients: Clients, call: str, message: str) -> None:
    refused = fault(Actions(allowed=EVERYTHING, clients=clients), call)
    assert (refused.name, refused.message) == ("States.Runtime", message)


def test_parameters_that_do_not_fit_are_told_without_their_values(clients: Clients) -> None:
    refused = fault(
        Actions(allowed=EVERYTHING, clients=clients), "sns.publish", Message=4711, TopicArn="t", Foo="secret"
    )
    assert refused.name == "SNS.ParamValidationError"
    assert refused.message.startswith(
        "sns.publish: 'Message' is a number, but must be text (write it in quotes, or give a template's value the "
        "filter 'string'); sns.publish has no parameter 'Foo' (it has: "
    )
    assert "4711" not in refused.message
    assert "secret" not in refused.message


def test_a_value_that_the_model_does_not_list_is_sent_all_the_same(aws: Actions) -> None:
    perform(aws, "s3.create_bucket", Bucket="reports")
    sent = fault(aws, "s3.put_object", Bucket="reports", Key="k", StorageClass="BRAND_NEW")
    assert sent.name == "S3.InvalidStorageClass"


# What goes wrong on the way.


class Server(ThreadingHTTPServer):
    """Answers each request with the next of its answers, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.requests = 0
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests += 1
        status, headers, body = self.server.answers[min(self.server.requests, len(self.server.answers)) - 1]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.server_port}")
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def dynamodb_error(code: str, status: int = 400) -> tuple[int, dict[str, str], bytes]:
    body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}}'
    return status, {"x-amzn-RequestId": "r1", "Content-Type": "application/x-amz-json-1.0"}, body.encode()


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        ("ProvisionedThroughputExceededException", 400, "DynamoDB.ProvisionedThroughputExceededException"),
        ("ThrottlingException", 400, "DynamoDB.ThrottlingException"),
        ("InternalServerError", 500, "DynamoDB.InternalServerError"),
        ("AccessDeniedException", 400, "States.Permissions"),
        ("AccessDenied", 403, "States.Permissions"),
        ("UnauthorizedOperation", 403, "States.Permissions"),
        ("AuthorizationErrorException", 403, "States.Permissions"),
        ("ResourceNotFoundException", 400, "DynamoDB.ResourceNotFoundException"),
    ],
)
def test_an_error_is_named_after_its_service_and_nothing_is_tried_again(
    server: Server, code: str, status: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    server.answers = [dynamodb_error(code, status), (200, {}, b"{}")]
    refused = fault(Actions(allowed=EVERYTHING), "dynamodb.list_tables")
    assert (refused.name, refused.message) == (name, "no")
    assert refused.data == {"code": code, "status": status, "request_id": "r1"}
    assert server.requests == 1
    assert error_from_fault(refused)  # it can be recorded


def test_details_of_an_error_are_left_out_when_they_are_large(server: Server) -> None:
    body = b'{"__type": "x#TransactionCanceledException", "message": "no", "CancellationReasons": [{"Code": "%s"}]}'
    server.answers = [(400, {}, body % b"None"), (400, {}, body % (b"x" * actions.DETAILS_MAX_BYTES))]
    aws = Actions(allowed=EVERYTHING)
    small = fault(aws, "dynamodb.transact_write_items", TransactItems=[{}])
    large = fault(aws, "dynamodb.transact_write_items", TransactItems=[{}])
    assert small.name == large.name == "DynamoDB.TransactionCanceledException"
    assert isinstance(small.data, dict)
    assert small.data["details"] == {"CancellationReasons": [{"Code": "None"}]}
    assert isinstance(large.data, dict)
    assert "details" not in large.data


def test_details_of_an_error_that_are_no_json_values_are_left_out(server: Server) -> None:
    body = b'{"__type": "x#TransactionCanceledException", "CancellationReasons": [{"Item": {"a": {"NULL": NaN}}}]}'
    server.answers = [(400, {}, body)]
    refused = fault(Actions(allowed=EVERYTHING), "dynamodb.transact_write_items", TransactItems=[{}])
    assert refused.name == "DynamoDB.TransactionCanceledException"
    assert refused.data == {"code": "TransactionCanceledException", "status": 400, "request_id": None}


def test_an_answer_that_is_no_json_value_is_an_invalid_result(server: Server) -> None:
    server.answers = [(200, {}, b'{"Table": {"ItemCount": 18446744073709551616}}')]
    refused = fault(Actions(allowed=EVERYTHING), "dynamodb.describe_table", TableName="t")
    assert refused.name == "States.ResultInvalid"
    assert "Table.ItemCount" in refused.message


def test_a_body_that_breaks_off_is_trouble_with_the_connection(server: Server) -> None:
    server.answers = [(200, {"Content-Length": "100"}, b"half")]
    refused = fault(Actions(allowed=EVERYTHING), "s3.get_object", 5, Bucket="reports", Key="k")
    assert refused.name == "S3.ConnectionError"


def test_a_body_that_does_not_end_times_out() -> None:
    with pytest.raises(TimeoutError, match="'Body' did not end"):
        actions._read("Body", BytesIO(b"x"), deadline=0)


@contextmanager
def silent_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Listen and accept, and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield port


def test_a_service_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_port(monkeypatch):
        late = fault(Actions(allowed=EVERYTHING), "dynamodb.list_tables", 0.2)
    assert (late.name, late.message) == ("States.Timeout", "dynamodb.list_tables did not answer within 0.2 s")


def test_a_service_that_nobody_listens_for_is_trouble_with_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_port(monkeypatch):
        pass
    gone = fault(Actions(allowed=EVERYTHING), "dynamodb.list_tables")
    assert gone.name == "DynamoDB.ConnectionError"


def test_botocores_other_errors_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert fault(Actions(allowed=EVERYTHING), "dynamodb.list_tables").name == "DynamoDB.NoRegionError"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert fault(Actions(allowed=EVERYTHING), "dynamodb.list_tables").name == "DynamoDB.NoCredentialsError"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ReadTimeoutError(endpoint_url="http://x"), "States.Timeout"),
        (TimeoutError(), "States.Timeout"),
        (EndpointConnectionError(endpoint_url="http://x"), "Glue.ConnectionError"),
        (ConnectionResetError(), "Glue.ConnectionError"),
        (NoRegionError(), "Glue.NoRegionError"),
        (ValueError("x"), "Glue.ValueError"),
    ],
)
def test_an_exception_has_one_name(error: Exception, name: str) -> None:
    assert fault_of(error, label="Glue", call="glue.get_job", seconds=5).name == name


# Checks without calls.


def test_a_service_and_an_action_are_looked_up_with_a_hint(clients: Clients) -> None:
    (service,) = check_action("dynamo", "put_item", {}, clients=clients)
    assert (service.code, service.path, service.hint) == ("DF304", ("service",), "did you mean 'dynamodb'?")
    (action,) = check_action("dynamodb", "put_items", {}, clients=clients)
    assert (action.code, action.path, action.hint) == ("DF305", ("action",), "did you mean 'put_item'?")
    (far,) = check_action("xyzzy-q", "put_items", {}, clients=clients)
    assert far.hint == "write it as boto3 does: dynamodb, s3, bedrock-runtime"
    (far,) = check_action("dynamodb", "xyzzy", {}, clients=clients)
    assert far.hint == "see the methods of its boto3 client"
    (stream,) = check_action("kinesis", "subscribe_to_shard", {}, clients=clients)
    assert (stream.code, stream.hint) == ("DF305", "call it in a step")


@pytest.mark.parametrize(
    ("call", "params"),
    [
        ("ec2.describe_instances", {"Filters": [{"Name": "x", "Values": ["y"]}]}),
        ("ec2.describe_id_format", {}),
        ("glacier.list_vaults", {}),
        ("logs.create_export_task", {"logGroupName": "g", "fromTime": 0, "to": 1, "destination": "b"}),
        ("lambda.invoke", {"FunctionName": "f", "Payload": "{}"}),
        ("s3.copy_object", {"Bucket": "b", "Key": "k", "CopySource": "b/k"}),
        ("sts.get_caller_identity", {}),
        (
            "bedrock-runtime.converse",
            {
                "modelId": parameters.Unknown.ANY,
                "messages": [{"role": "user", "content": [{"toolUse": {"toolUseId": "1", "name": "n", "input": {"x": [None]}}}]}],
            },
        ),
    ],
)  # fmt: skip
def test_what_boto3_takes_is_taken(clients: Clients, call: str, params: dict[str, object]) -> None:
    service, _, action = call.partition(".")
    assert check_action(service, action, params, clients=clients) == []


@pytest.mark.slow
def test_botocores_own_examples_fit_as_botocore_says(clients: Clients) -> None:
    session: Any = get_session()
    loader = session.get_component("data_loader")
    compared = 0
    for service in loader.list_available_services("examples-1"):
        for name, examples in loader.load_service_model(service, "examples-1")["examples"].items():
            action = clients.operation(service, xform_name(name)).action
            for params in [example.get("input") or {} for example in examples if action.shape]:
                wrong = [misfit.message for misfit in parameters.fit(action, params)[1] if misfit.code == "DF311"]
                said = ParamValidator().validate(params, action.shape).generate_report()
                # Lengths and the like are left to botocore, tokens are filled in.
                theirs = [
                    line
                    for line in said.splitlines()
                    if not line.startswith(("Invalid length", "Invalid range"))
                    and not any(f'"{one}"' in line for one in action.tokens)
                ]
                assert bool(wrong) == bool(theirs), (service, name, params, wrong, said)
                compared += 1
    assert compared > 1_000


def test_an_action_that_the_project_does_not_list_is_pointed_out(clients: Clients) -> None:
    allowed = AllowList(patterns=("s3:GetObject",))
    params = {"Bucket": "b", "Key": "k"}
    assert check_action("s3", "get_object", params, clients=clients, allowed=allowed) == []
    (only,) = check_action("s3", "put_object", params, clients=clients, allowed=allowed)
    assert (only.code, only.path) == ("DF422", ("action",))
    assert only.message == "the project's list 'aws: {allow: …}' does not have s3.put_object"
    assert only.hint == "add 's3:PutObject' to it"


# Secrets.


@pytest.fixture
def vault(aws: Actions) -> Clients:
    for name, secret in {
        "payments/api": '{"token": "t0p", "limit": 5, "none": null}',
        "plain": "pl41n",
        "list": "[1]",
    }.items():
        perform(aws, "secretsmanager.create_secret", Name=name, SecretString=secret)
    perform(aws, "secretsmanager.create_secret", Name="key", SecretBinary={"$base64": "//79"})
    perform(aws, "secretsmanager.create_secret", Name="text", SecretBinary="t3xt")
    perform(aws, "ssm.put_parameter", Name="/app/password", Value="pw", Type="SecureString")
    return Clients()


@pytest.mark.parametrize(
    ("reference", "secret"),
    [
        ("secretsmanager:payments/api#token", "t0p"),
        ("secretsmanager:payments/api#limit", "5"),
        ("secretsmanager:plain", "pl41n"),
        ("secretsmanager:text", "t3xt"),
        ("ssm:/app/password", "pw"),
    ],
)
def test_a_secret_is_fetched(vault: Clients, reference: str, secret: str) -> None:
    assert fetch_secret(reference, vault) == secret


@pytest.mark.parametrize(
    ("reference", "name", "message"),
    [
        ("secretsmanager:payments/api#tokne", "Secret.KeyNotFound", "the secret 'payments/api' has no key 'tokne'"),
        ("secretsmanager:payments/api#none", "Secret.KeyNotFound", "the secret 'payments/api' has no key 'none'"),
        ("secretsmanager:plain#token", "Secret.Invalid", "the secret 'plain' is no JSON object, so it has no key 'token'"),
        ("secretsmanager:list#token", "Secret.Invalid", "the secret 'list' is no JSON object, so it has no key 'token'"),
        ("secretsmanager:key", "Secret.Invalid", "the secret 'key' is binary, not text"),
        ("secretsmanager:none", "SecretsManager.ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
        ("ssm:/app/none", "SSM.ParameterNotFound", "Parameter /app/none not found."),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_had_is_a_fault_that_tells_nothing_of_it(
    vault: Clients, reference: str, name: str, message: str
) -> None:
    with pytest.raises(Fault) as caught:
        fetch_secret(reference, vault)
    assert (caught.value.name, caught.value.message) == (name, message)


def test_reading_a_secret_is_tried_again(server: Server) -> None:
    server.answers = [(500, {}, b"{}"), (200, {}, b'{"SecretString": "s"}')]
    assert fetch_secret("secretsmanager:api", Clients()) == "s"
    assert server.requests == 2
