"""Bad shapes, made by rule: texts that are YAML and no workflow.

The identifiers are those of the bad-input corpus, S1 to S14. What only the meaning of names decides (S4 to S7: a `next`
that names nothing, loops, unreachable states) is not here. A case that must be taken has no code.
"""

from __future__ import annotations

from corpus_text import HEAD, Case, yaml

LONG = "x" * 300


def state(case_id: str, body: str, code: str | None, line: int | None = 4) -> Case:
    """A workflow of one state on line 4, written in braces."""
    return yaml(case_id, f"{HEAD}states:\n  - {{name: s, {body}}}\n", code, line if code else None)


def named(case_id: str, name: str, code: str | None) -> Case:
    """A workflow whose one state has this name, as YAML writes it."""
    return yaml(case_id, f"{HEAD}states:\n  - {{name: {name}, type: pass}}\n", code, 4 if code else None)


def retrier(case_id: str, body: str, code: str | None) -> Case:
    return state(case_id, f'type: step, handler: "a:b", retry: [{{{body}}}]', code)


UNKNOWN_KEYS = (
    yaml("S1-top", f"{HEAD}colour: red\nstates: [{{name: s, type: pass}}]\n", "DF153", 3),
    state("S1-state", "type: invoke, functoin: f", "DF153"),
    state("S1-check", "type: wait_for_condition, until: true, check: {type: step, hander: 'a:b'}", "DF153"),
    retrier("S1-retrier", "error: [A]", "DF153"),
    state("S1-catcher", "type: pass, catch: [{on: [A]}]", "DF153"),
    state("S1-arm", "type: choice, choices: [{when: true, do: []}]", "DF153"),
    state("S1-completion", "type: map, items: input, states: [{name: t, type: pass}], completion: {min: 1}", "DF153"),
    state("S1-elsewhere", "type: pass, retry: []", "DF154"),
    state("S1-dunder", "type: pass, __class__: 1", "DF153"),
    state("S1-many", f"type: pass, {', '.join(f'k{n}: 1' for n in range(500))}", "DF153"),
    state("S1-long", f"type: pass, {'k' * 1000}: 1", "DF153"),
)

TYPES = (
    state("S2-unknown", "type: invok, function: f", "DF155"),
    state("S2-missing", "function: f", "DF155"),
    state("S2-number", "type: 3", "DF156"),
    state("S2-null", "type: null", "DF156"),
    state("S2-list", "type: [invoke]", "DF156"),
    state("S2-capital", "type: Invoke, function: f", "DF155"),
    state("S2-long", f"type: {'y' * 100_000}", "DF155"),
    state("S2-check", "type: wait_for_condition, until: true, check: {type: invoke}", "DF155"),
)

STATES = (
    yaml("S3-missing", HEAD, "DF152", 1),
    yaml("S3-empty", f"{HEAD}states: []\n", "DF162", 3),
    yaml("S3-null", f"{HEAD}states:\n", "DF156", 3),
    yaml("S3-numbers", f"{HEAD}states: [1, 2]\n", "DF156", 3),
    yaml("S3-mapping", f"{HEAD}states: {{a: {{type: pass}}}}\n", "DF156", 3),
    yaml("S3-text", f"{HEAD}states: all\n", "DF156", 3),
    state("S3-nested", "type: block, states: []", "DF162"),
)

NEXT = (
    state("S5-both", "type: choice, choices: [{when: true, states: [], next: end}]", "DF161"),
    state("S5-neither", "type: choice, choices: [{when: true}]", "DF161"),
    state("S5-catcher", "type: pass, catch: [{states: [], next: end}]", "DF161"),
    state("S5-number", "type: pass, next: 3", "DF156"),
    state("S5-list", "type: pass, next: [a, b]", "DF156"),
)

SECONDS = (
    state("S8-negative-wait", "type: wait, duration: -1", None),
    state("S8-zero-wait", "type: wait, duration: 0", None),
    state("S8-negative-timeout", "type: step, handler: 'a:b', timeout: -1", "DF159"),
    state("S8-zero-timeout", "type: step, handler: 'a:b', timeout: 0s", "DF159"),
    state("S8-true", "type: wait, duration: true", "DF156"),
    state("S8-soon", "type: wait, duration: soon", "DF158"),
    state("S8-nan", 'type: wait, duration: "NaN"', "DF158"),
    state("S8-infinite", 'type: wait, duration: "inf"', "DF158"),
    state("S8-1e30", "type: wait, duration: 1e30", "DF159"),
    state("S8-two-years", "type: wait, duration: 731d", "DF159"),
    state("S8-months", "type: wait, duration: P2M", "DF158"),
    state("S8-digits", f'type: wait, duration: "{"9" * 5000}"', "DF158"),
    state("S8-list", "type: wait, duration: [1]", "DF156"),
    state("S8-neither", "type: wait", "DF161"),
    state("S8-both", "type: wait, duration: 1, until: '2026-01-01'", "DF161"),
    state("S8-until", "type: wait, until: tomorrow", "DF157"),
)

RETRIES = (
    retrier("S9-negative", "max_attempts: -1", "DF159"),
    retrier("S9-text", "max_attempts: three", "DF156"),
    retrier("S9-boolean", "max_attempts: true", "DF156"),
    retrier("S9-fraction", "max_attempts: 1.5", "DF156"),
    retrier("S9-nan", 'max_attempts: "NaN"', "DF156"),
    retrier("S9-billion", "max_attempts: 1000000000", "DF159"),
    retrier("S9-rate-negative", "backoff_rate: -1", "DF159"),
    retrier("S9-rate-billion", "backoff_rate: 1000000000", "DF159"),
    retrier("S9-rate-boolean", "backoff_rate: true", "DF156"),
    retrier("S9-interval-negative", "interval: -1", "DF159"),
    retrier("S9-interval-billion", "interval: 1000000000", "DF159"),
    retrier("S9-increment", "increment: 1s, backoff_rate: 2", "DF161"),
    retrier("S9-jitter", "jitter: fully", "DF160"),
    retrier("S9-no-errors", "errors: []", "DF162"),
    retrier("S9-error-number", "errors: [404]", "DF156"),
    state("S9-number", "type: step, handler: 'a:b', retry: 3", "DF156"),
)

NAMES = (
    named("S10-empty", "''", "DF157"),
    named("S10-long", LONG, "DF157"),
    named("S10-newline", '"a\\nb"', "DF157"),
    named("S10-newline-behind", '"a\\n"', "DF157"),
    named("S10-emoji", "🚀", "DF157"),
    named("S10-path", "../../x", "DF157"),
    named("S10-end", "end", "DF157"),
    named("S10-digit", "1a", "DF157"),
    named("S10-null", "null", "DF156"),
    named("S10-template", '"{{ input.name }}"', "DF157"),
    named("S10-64", "x" * 64, None),
    named("S10-65", "x" * 65, "DF157"),
    yaml("S10-variable", f"{HEAD}vars: {{a b: 1}}\nstates: [{{name: s, type: pass}}]\n", "DF157", 3),
)

FUNCTIONS = tuple(
    state(f"S11-{kind}", f'type: invoke, function: "{name}"', code)
    for kind, name, code in (
        ("empty", "", "DF157"),
        ("space", "my function", "DF157"),
        ("url", "https://example.com/f", "DF157"),
        ("path", "../f", "DF157"),
        ("star", "*", "DF157"),
        ("shell", "$(reboot)", "DF157"),
        ("long", LONG, "DF157"),
        ("s3", "arn:aws:s3:::bucket", "DF157"),
        ("newline", "f\\n", "DF157"),
        ("qualified", "inventory:live", None),
        ("latest", "inventory:$LATEST", None),
        ("arn", "arn:aws:lambda:eu-west-1:123456789012:function:inventory:7", None),
    )
)

ACTIONS = (
    state("S12-dots", "type: aws, service: os.system, action: x", "DF157"),
    state("S12-path", "type: aws, service: ./evil.py, action: x", "DF157"),
    state("S12-iam", 'type: aws, service: "aws:iam", action: createUser', "DF157"),
    state("S12-action", "type: aws, service: iam, action: __init__", "DF157"),
    state("S12-handler", "type: step, handler: os.system", "DF157"),
    state("S12-handler-path", "type: step, handler: '/etc/passwd:x'", "DF157"),
    state("S12-handler-call", "type: step, handler: 'os:system(1)'", "DF157"),
    state("S12-url", "type: http, url: 'file:///etc/passwd'", "DF157"),
    state("S12-method", "type: http, method: BREW, url: 'https://example.com'", "DF157"),
)

BRANCHES = (
    state("S13-number", "type: parallel, branches: 3", "DF156"),
    state("S13-list", "type: parallel, branches: [null]", "DF156"),
    state("S13-nulls", "type: parallel, branches: {a: null}", "DF156"),
    state("S13-null-states", "type: parallel, branches: {a: [null]}", "DF156"),
    state("S13-empty-branch", "type: parallel, branches: {a: []}", "DF162"),
    state("S13-none", "type: parallel, branches: {}", None),
)

VERSIONS = (
    yaml("S14-missing", "name: x\nstates: [{name: s, type: pass}]\n", "DF151", 1),
    yaml("S14-number", "durableflow: 1\nname: x\nstates: [{name: s, type: pass}]\n", "DF151", 1),
    yaml("S14-999", 'name: x\ndurableflow: "999"\nnonsense: 1\n', "DF151", 2),
    yaml("S14-null", "durableflow:\nname: x\nstates: [{name: s, type: pass}]\n", "DF151", 1),
    yaml("S14-list", "- 1\n", "DF150", 1),
)

CASES: tuple[Case, ...] = (
    *UNKNOWN_KEYS,
    *TYPES,
    *STATES,
    *NEXT,
    *SECONDS,
    *RETRIES,
    *NAMES,
    *FUNCTIONS,
    *ACTIONS,
    *BRANCHES,
    *VERSIONS,
)
