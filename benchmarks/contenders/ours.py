"""Durableflow as a contender: `python ours.py workers|in-process|http`.

Everything is real: SQLite in a file commits before it answers, and with `http` a client asks over the network. Waits
are skipped. Of `workers` and `in-process` the first has handlers in worker processes, the second in this one; `http` is
the first one as well.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import count as numbers
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import answering

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import worlds

from durableflow.local.clock import SystemClock
from durableflow.local.engine import Engine
from durableflow.local.http import Server
from durableflow.local.service import Service
from durableflow.local.store import open_store
from durableflow.local.targets import Targets

if TYPE_CHECKING:
    from durableflow.local.service import Job
    from durableflow.plan import Plan

HANDLERS = "def work(payload):\n    return {'v': 1}\n"
CLIENTS = 16
FUNCTIONS = "/2015-03-31/functions"


def workflow(name: str, items: int) -> Plan:
    if name in {"steps", "invokes"}:
        text = worlds.workflow(items, "step" if name == "steps" else "invoke")
        document = json.loads(text)
    elif name == "map":
        each = {"name": "each", "type": "step", "handler": worlds.HANDLER}
        states = [{"name": "all", "type": "map", "items": f"range({items}) | list", "states": [each]}]
        document = {"durableflow": "1", "states": states}
    elif name == "waits":
        states = [{"name": f"s{number}", "type": "wait", "duration": "1h"} for number in range(items)]
        document = {"durableflow": "1", "states": states}
    else:
        document = {"durableflow": "1", "states": [{"name": "only", "type": "pass", "output": {"v": 1}}]}
    return worlds.plan_of(json.dumps({**document, "name": name_of(name, items)}))


def name_of(workflow_: str, items: int) -> str:
    return worlds.FUNCTION if workflow_ == "none" else f"{workflow_}-{items}"


class Ours:
    """An engine with its store in a file."""

    def __init__(self, kind: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="durableflow-bench-"))
        (self.folder / "handlers.py").write_text(HANDLERS)
        self.engine = Engine(store=self.folder / "store.db", skip_time=True, in_process=kind == "in-process")
        self._known: set[str] = set()
        self._numbers = numbers(1)
        self._know("none", 0)

    def _know(self, workflow_: str, items: int) -> str:
        name = name_of(workflow_, items)
        if name not in self._known:
            self._known.add(name)
            self.engine.register(workflow(workflow_, items), self.folder)
        return name

    def start(self, workflow_: str, items: int) -> Any:
        return self.engine.start(self._know(workflow_, items), "{}", f"bench-{next(self._numbers)}")

    def finish(self, handle: Any) -> None:
        ended = self.engine.wait(handle)
        assert ended["Status"] == "SUCCEEDED", ended

    def hold(self) -> dict[str, Any]:
        raise NotImplementedError("nobody checkpoints over HTTP here")

    def invoked(self) -> dict[str, Any]:
        raise NotImplementedError("nobody invokes over HTTP here")

    def close(self) -> None:
        self.engine.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class OverHttp(Ours):
    """The same, asked by clients over HTTP: each execution is a synchronous Invoke."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.server = self.engine.serve(0)
        self.headers = {"X-Durableflow-Secret": self.server.secret, "Content-Type": "application/json"}
        self._clients = ThreadPoolExecutor(CLIENTS)
        self._held: Held | None = None

    def start(self, workflow_: str, items: int) -> Any:
        return self._clients.submit(self._invoke, self._know(workflow_, items))

    def _invoke(self, name: str) -> tuple[int, Any, bytes]:
        # One for each request: the server does not keep them as long as the others may take their turns.
        with closing(HTTPConnection("127.0.0.1", self.server.port)) as connection:
            connection.request("POST", f"{FUNCTIONS}/{name}/invocations", b"{}", self.headers)
            response = connection.getresponse()
            return response.status, response.headers.get("X-Amz-Function-Error"), response.read()

    def finish(self, handle: Future[tuple[int, Any, bytes]]) -> None:
        status, error, body = handle.result()
        assert (status, error) == (200, None), body

    def hold(self) -> dict[str, Any]:
        self._held = Held(self.folder)
        return self._held.open()

    def invoked(self) -> dict[str, Any]:
        headers = {**self.headers, "X-Amz-Invocation-Type": "Event", "X-Amz-Durable-Execution-Name": "NAME"}
        path = f"{FUNCTIONS}/{worlds.FUNCTION}/invocations"
        return {"url": self.server.url, "path": path, "headers": headers, "body": "{}"}

    def close(self) -> None:
        self._clients.shutdown()
        if self._held is not None:
            self._held.close()
        super().close()


class Held:
    """A service with a store of its own whose invocations nobody makes: a client checkpoints in their place."""

    def __init__(self, folder: Path) -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        targets = Targets()
        targets.register(workflow("steps", 1), folder)
        self.store = open_store(folder / "held.db")
        self.service = Service(store=self.store, clock=SystemClock(), functions=targets, invoker=self)
        self.server = Server(lambda method, members: getattr(self.service, method)(**members))

    def start(self, job: Job) -> None:
        self.jobs.put(job)

    def open(self) -> dict[str, Any]:
        self.service.invoke(FunctionName=name_of("steps", 1), InvocationType="Event")
        event: Any = self.jobs.get().event
        headers = {"X-Durableflow-Secret": self.server.secret, "Content-Type": "application/json"}
        token = event["CheckpointToken"]
        return {"url": self.server.url, "headers": headers, "arn": event["DurableExecutionArn"], "token": token}

    def close(self) -> None:
        self.server.close()
        self.store.close()


if __name__ == "__main__":
    answering.serve(OverHttp(sys.argv[1]) if sys.argv[1] == "http" else Ours(sys.argv[1]))
