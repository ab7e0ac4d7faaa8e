"""Whatever is sent, the ledger's histories are words of the protocol (reliability.md I7-I10)."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durableflow import ledger
from durableflow.errors import ServiceError
from durableflow.ledger import Ledger, Target
from durableflow.operations import TERMINAL

NOW = 1_767_225_600_000
IDS = ("a", "b", "c", "d")
TYPES = ("STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE", "CONTEXT")
ACTIONS = ("START", "SUCCEED", "FAIL", "RETRY", "CANCEL")
TRIGGERS: Any = ("due", "success", "failure", "timeout", "stop")

MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "ParentId": st.sampled_from((*IDS, "missing")),
        "Payload": st.text(max_size=3),
        "Error": st.just({"ErrorType": "E"}),
        "StepOptions": st.builds(dict, NextAttemptDelaySeconds=st.integers(0, 3)),
        "ContextOptions": st.just({"ReplayChildren": True}),
    },
)
SUITABLE = {
    "WAIT": {"WaitOptions": {"WaitSeconds": 5}},
    "CHAINED_INVOKE": {"ChainedInvokeOptions": {"FunctionName": "f"}},
    "CALLBACK": {"CallbackOptions": {"TimeoutSeconds": 5}},
}


def _update(id_: str, type_: str, action: str, members: dict[str, Any]) -> Any:
    return {"Id": id_, "Type": type_, "Action": action, **SUITABLE.get(type_, {}), **members}


UPDATES = st.builds(
    _update, st.sampled_from(IDS), st.sampled_from(TYPES), st.sampled_from(ACTIONS), st.just({}) | MEMBERS
)
BATCHES = st.lists(UPDATES, min_size=1, max_size=4)
EVENTS = st.tuples(st.sampled_from(IDS), st.sampled_from(TRIGGERS))


@given(st.lists(BATCHES | EVENTS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_every_history_is_a_word_of_the_protocol(inputs: list[Any]) -> None:
    known: dict[str, Any] = {}
    history: list[Any] = []
    for given_ in inputs:
        before = {id_: dict(found) for id_, found in known.items()}
        changes = _send(known, given_) if isinstance(given_, list) else _settle(known, *given_)
        assert known == before  # nothing is changed in place
        if changes is None:
            continue
        assert {made["Id"] for made in changes.operations} - known.keys() == set(changes.created)
        for made in changes.operations:
            assert known.get(made["Id"], {}).get("Status") not in TERMINAL
            assert ("EndTimestamp" in made) == (made["Status"] in TERMINAL)
            known[made["Id"]] = made
        history += changes.events
    _check(history, known)


def _send(known: dict[str, Any], batch: list[Any]) -> ledger.Changes | None:
    book = Ledger(
        now=NOW, lookup=known.get, new_callback_id=lambda id_: id_, resolve=lambda _: Target(name="f", version="1")
    )
    try:
        return book.apply(batch)
    except ServiceError:
        return None


def _settle(known: dict[str, Any], id_: str, trigger: Any) -> ledger.Changes | None:
    return ledger.settle(known[id_], trigger, now=NOW) if id_ in known else None


def _check(history: list[Any], known: dict[str, Any]) -> None:
    attempts: dict[str, int] = {}
    ended: set[str] = set()
    for event in history:
        id_, kind = event["Id"], event["EventType"]
        assert id_ not in ended, "an operation ends once, and nothing follows"
        details = event[f"{kind}Details"]
        if "RetryDetails" in details:
            attempts[id_] = attempts.get(id_, 0) + 1
            assert details["RetryDetails"]["CurrentAttempt"] == attempts[id_]
        if not kind.endswith("Started") and "NextAttemptDelaySeconds" not in details.get("RetryDetails", {}):
            ended.add(id_)
        if "ParentId" in event:
            assert known[event["ParentId"]]["Type"] == "CONTEXT"
    assert ended == {id_ for id_, found in known.items() if found["Status"] in TERMINAL}
