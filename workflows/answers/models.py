"""Amazon Bedrock: a model that has learnt two conversations by heart.

Asked to compare tea and coffee, it looks both up, divides by nothing once, reads what went wrong, and answers. Asked
anything else it never stops looking things up.
"""

from __future__ import annotations

from typing import Any

import journal

TOKENS_A_TURN = 12_000


def converse(params: dict[str, Any]) -> dict[str, Any]:
    """Say the next thing."""
    messages = params["messages"]
    question, turn = messages[0]["content"][0]["text"], (len(messages) + 1) // 2
    journal.record("turn", str(turn))
    known = {tool["toolSpec"]["name"] for tool in params["toolConfig"]["tools"]}
    if "tea and coffee" not in question:
        return _spoken([_use(f"t{turn}", "search", subject="tea")], known)
    if turn == 1:
        return _spoken(
            [
                {"text": "I look them up."},
                _use("t1", "search", subject="tea"),
                _use("t2", "search", subject="coffee"),
                _use("t3", "divide", dividend=95, divisor=0),
            ],
            known,
        )
    failed = [part["toolResult"] for part in messages[-1]["content"] if part["toolResult"].get("status") == "error"]
    if failed:
        reason = failed[0]["content"][0]["text"]
        return _spoken([{"text": f"That went wrong ({reason})."}, _use("t4", "divide", dividend=95, divisor=47)], known)
    quotient = messages[-1]["content"][0]["toolResult"]["content"][0]["json"]["quotient"]
    return _spoken([{"text": f"A cup of coffee has {quotient} times the caffeine of a cup of tea."}], known)


def _use(key: str, tool: str, **given: object) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": key, "name": tool, "input": given}}


def _spoken(content: list[dict[str, Any]], known: set[str]) -> dict[str, Any]:
    used = {part["toolUse"]["name"] for part in content if "toolUse" in part}
    assert used <= known, "a model uses only the tools that it is told of"
    return {
        "stopReason": "tool_use" if used else "end_turn",
        "output": {"message": {"role": "assistant", "content": content}},
        "usage": {"totalTokens": TOKENS_A_TURN},
    }
