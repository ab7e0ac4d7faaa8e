"""Handlers of `step` states: plain functions that get the state's payload and return JSON."""


def greet(payload: dict[str, str]) -> dict[str, str]:
    return {"text": f"Hello, {payload['name']}!"}
