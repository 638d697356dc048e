"""A stand-in for Kaggle on the loopback address: it speaks the client's protocol, faults on order.

Written after what the client (kaggle 2.2) sends and accepts: POSTs of JSON to
`/v1/<service>/<method>`, also behind `/api`.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

USER, KEY, TOKEN = "tester", "dummykey-4f1d0c", "dummytoken-77aa31"
DONE = {"status": "COMPLETE", "publicScore": "0.98765"}


@dataclass
class Fault:
    """One wrong answer instead of the right one; `drop` closes the connection without any."""

    status: int = 500
    body: object = ""
    drop: bool = False


class KaggleServer:
    """The server and its state; use as a context manager."""

    def __init__(self):
        self.requests: list[tuple[str, dict]] = []  # method or PUT, and body or headers
        self.faults: dict[str, list[Fault]] = defaultdict(list)  # to come, by name of the method
        self.states = [DONE]  # answers to GetSubmission, the last one for ever
        self.uploads: dict[str, bytes] = {}
        self.datasets: dict[str, list[str]] = {}  # the files of each
        self.dataset_states = ["READY"]
        self.kernel_answer: dict = {}

    def __enter__(self) -> KaggleServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.kaggle = self
        self._http.handle_error = lambda *_: None  # clients may hang up early
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def sent(self, name: str) -> list[dict]:
        return [body for method, body in self.requests if method == name]

    def answer(self, name: str, body: dict) -> dict | Fault:
        """Answer one method of the API."""
        method = getattr(self, f"_{name}", None)
        return method(body) if method else Fault(404, {"code": 404, "message": f"no {name}"})

    def _IntrospectToken(self, body):
        return {"active": body.get("token") == TOKEN, "username": USER}

    def _GetSubmissionLimits(self, body):
        return {"numToday": 1, "numTotal": 3, "numAllowedNow": 4}

    def _StartSubmissionUpload(self, body):
        return self._StartBlobUpload({"name": body["fileName"]})

    def _StartBlobUpload(self, body):
        token = f"blob-{len(self.requests)}-{body['name']}"
        return {"token": token, "createUrl": f"{self.url}/upload/{token}"}

    def _CreateSubmission(self, body):
        if body["blobFileTokens"] not in self.uploads:
            return Fault(400, {"code": 400, "message": "no such upload"})
        return {"message": "Successfully submitted", "ref": 4242}

    def _GetSubmission(self, body):
        return {"ref": body["ref"], **_next(self.states)}

    def _GetDatasetStatus(self, body):
        if f"{body['ownerSlug']}/{body['datasetSlug']}" in self.datasets:
            return {"status": _next(self.dataset_states)}
        return Fault(404, {"error": {"code": 404, "message": "Not found"}})

    def _CreateDataset(self, body):
        self.is_private = body["isPrivate"]
        return self._hold(f"{body['ownerSlug']}/{body['slug']}", body)

    def _CreateDatasetVersion(self, body):
        return self._hold(f"{body['ownerSlug']}/{body['datasetSlug']}", body["body"])

    def _hold(self, ref, body):
        self.datasets[ref] = [file["token"].split("-", 2)[2] for file in body["files"]]
        return {"status": "ok", "url": "https://www.kaggle.com/datasets/x"}

    def _SaveKernel(self, body):
        url = f"https://www.kaggle.com/code/{body['slug']}"
        return {"ref": body["slug"], "url": url, "versionNumber": 1, **self.kernel_answer}


def _next(answers):
    return answers.pop(0) if len(answers) > 1 else answers[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def begin(self, name: str, body: dict) -> Fault | None:
        """Note a request, and return the fault that is due."""
        self.server.kaggle.requests.append((name, body))
        due = self.server.kaggle.faults[name]
        return due.pop(0) if due else None

    def content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        path = urlsplit(self.path).path
        name, body = path.rsplit("/", 1)[-1], json.loads(self.content() or b"{}")
        fault = self.begin(name, body)
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        known = self.headers.get("Authorization") in (basic, f"Bearer {TOKEN}")
        if not known and name != "IntrospectToken":
            fault = Fault(401, {"code": 401, "message": "Unauthorized"})
        answer = fault or self.server.kaggle.answer(name, body)
        if isinstance(answer, Fault):
            return self.fail(answer)
        return self.send(200, json.dumps(answer).encode())

    def do_PUT(self):
        content = self.content()
        if fault := self.begin("PUT", dict(self.headers)):
            return self.fail(fault)
        self.server.kaggle.uploads[urlsplit(self.path).path.rsplit("/", 1)[-1]] = content
        return self.send(200, b"")

    def fail(self, fault):
        if fault.drop:
            self.close_connection = True
            return
        is_text = isinstance(fault.body, str)
        kind = "text/html" if is_text else "application/json"
        self.send(fault.status, (fault.body if is_text else json.dumps(fault.body)).encode(), kind)

    def send(self, status, content, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")  # so that every request needs a connection
        self.end_headers()
        self.wfile.write(content)
