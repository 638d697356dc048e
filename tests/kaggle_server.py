"""A stand-in for Kaggle on the loopback address: it speaks the client's protocol, faults on order.

Written after what the client (kaggle 2.2, kagglesdk 0.1) sends and accepts: POSTs of JSON to
`/v1/<service>/<method>`, also behind `/api` and as absolute addresses, when it serves as a proxy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

USER, KEY, TOKEN = "tester", "dummykey-4f1d0c", "dummytoken-77aa31"


@dataclass
class Fault:
    """One wrong answer instead of the right one; `drop` closes the connection without any."""

    status: int = 500
    body: object = None
    headers: dict = field(default_factory=dict)
    drop: bool = False
    after_work: bool = False  # the request takes effect, only its answer goes wrong


@dataclass
class Request:
    name: str  # the method, or PUT, or GET
    body: dict
    headers: dict


class KaggleServer:
    """The server and its state; use as a context manager.

    Attributes:
        requests: what has arrived, in order.
        faults: wrong answers to come, by name of the method (PUT and GET for the file store).
        cuts: for each GET to come, after how many bytes of the body it breaks off.
        data: the zip that the contest offers; setting it changes its ETag.
        states: answers to GetSubmission, the last one for ever.
    """

    def __init__(self):
        self.requests: list[Request] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.cuts: list[int | None] = []
        self.data = b""
        self.has_length = True
        self.competition = {
            "userHasEntered": True,
            "maxDailySubmissions": 5,
            "evaluationMetric": "AUC",
        }
        self.limits = {"numToday": 1, "numTotal": 3, "numAllowedNow": 4}
        self.states: list[dict] = [{"status": "COMPLETE", "publicScore": "0.98765"}]
        self.submissions: list[dict] = []
        self.listed = True  # whether new submissions show up in the list
        self.uploads: dict[str, bytes] = {}
        self.datasets: dict[str, dict] = {}
        self.kernel_answer: dict = {}

    def __enter__(self) -> KaggleServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.kaggle = self
        self._http.handle_error = lambda *_: None  # a client that hangs up early is no error
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

    def names(self) -> list[str]:
        return [request.name for request in self.requests]

    def bodies(self, name: str) -> list[dict]:
        return [request.body for request in self.requests if request.name == name]

    @property
    def etag(self) -> str:
        return '"' + hashlib.md5(self.data).hexdigest() + '"'

    def answer(self, name: str, body: dict) -> dict | Fault:
        """Answer one method of the API."""
        method = getattr(self, f"_{name}", None)
        if method is None:
            return Fault(404, {"code": 404, "message": f"no method {name}"})
        return method(body)

    def _IntrospectToken(self, body):
        return {"active": body.get("token") == TOKEN, "username": USER}

    def _GetCompetition(self, body):
        return {"ref": body["competitionName"], **self.competition}

    def _ListDataFiles(self, body):
        file = {"name": "x.bmp", "totalBytes": 3, "creationDate": "2026-01-02T03:04:05.678Z"}
        return {"files": [file], "nextPageToken": ""}

    def _DownloadDataFiles(self, body):
        place = f"{self.url}/data/{body['competitionName']}.zip?X-Signature=sign3d"
        return Fault(302, "", {"Location": place})

    def _GetSubmissionLimits(self, body):
        return self.limits

    def _StartSubmissionUpload(self, body):
        return self._start_upload(body["fileName"])

    def _StartBlobUpload(self, body):
        return self._start_upload(body["name"])

    def _start_upload(self, name):
        token = f"blob-{len(self.requests)}-{name}"
        return {"token": token, "createUrl": f"{self.url}/upload/{token}?X-Signature=sign3d"}

    def _CreateSubmission(self, body):
        if body["blobFileTokens"] not in self.uploads:
            return Fault(400, {"code": 400, "message": "no such upload"})
        ref = 4242 + len(self.submissions)
        self.submissions.append(
            {"ref": ref, "description": body.get("submissionDescription"), "status": "PENDING"}
        )
        return {"message": "Successfully submitted", "ref": ref}

    def _ListSubmissions(self, body):
        return {"submissions": self.submissions[::-1] if self.listed else []}

    def _GetSubmission(self, body):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"ref": body["ref"], **state}

    def _GetDatasetStatus(self, body):
        ref = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if ref not in self.datasets:
            return Fault(404, {"error": {"code": 404, "message": "Not found"}})
        return {"status": "READY"}

    def _CreateDataset(self, body):
        self.datasets[f"{body['ownerSlug']}/{body['slug']}"] = body
        return {"status": "ok", "url": "https://www.kaggle.com/datasets/x"}

    def _CreateDatasetVersion(self, body):
        self.datasets[f"{body['ownerSlug']}/{body['datasetSlug']}"] = body["body"]
        return {"status": "ok"}

    def _SaveKernel(self, body):
        url = f"https://www.kaggle.com/code/{body['slug']}"
        return {"ref": body["slug"], "url": url, "versionNumber": 1, **self.kernel_answer}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server.kaggle
        path = urlsplit(self.path).path.removeprefix("/api")
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = path.rsplit("/", 1)[-1]
        body = json.loads(content or b"{}")
        server.requests.append(Request(name, body, dict(self.headers)))
        fault = server.faults[name].pop(0) if server.faults[name] else None
        if not path.startswith("/v1/"):
            return self.send(404, {"code": 404, "message": path})
        if name != "IntrospectToken" and not self.is_authorized():
            return self.send(401, {"code": 401, "message": "Unauthorized"})
        if fault and not fault.after_work:
            return self.fail(fault)
        answer = server.answer(name, body)
        if fault or isinstance(answer, Fault):
            return self.fail(fault or answer)
        return self.send(200, answer)

    def do_PUT(self):
        server = self.server.kaggle
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.requests.append(Request("PUT", {}, dict(self.headers)))
        if server.faults["PUT"]:
            return self.fail(server.faults["PUT"].pop(0))
        if "Authorization" in self.headers:
            return self.send(400, {"message": "signed addresses take no credentials"})
        server.uploads[urlsplit(self.path).path.rsplit("/", 1)[-1]] = content
        return self.send(200, "")

    def do_GET(self):
        server = self.server.kaggle
        server.requests.append(Request("GET", {}, dict(self.headers)))
        if server.faults["GET"]:
            return self.fail(server.faults["GET"].pop(0))
        data, start, status = server.data, 0, 200
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range", server.etag) == server.etag:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
        self.send_response(status)
        self.send_header("Content-Type", "application/zip")
        self.send_header("ETag", server.etag)
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.has_length:
            self.send_header("Content-Length", str(len(data) - start))
        self.close_connection = True
        self.send_header("Connection", "close")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(data[start:] if cut is None else data[start : start + cut])

    def is_authorized(self):
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers.get("Authorization") in (basic, f"Bearer {TOKEN}")

    def fail(self, fault):
        if fault.drop:
            self.close_connection = True
            return
        body = fault.body
        if callable(body):
            body = body(self.headers)
        self.send(fault.status, body if body is not None else "", fault.headers)

    def send(self, status, body, headers=()):
        is_text = isinstance(body, str)
        content = body.encode() if is_text else json.dumps(body).encode()
        self.send_response(status)
        headers = dict(headers)
        if "Content-Type" not in headers:
            headers["Content-Type"] = "text/plain" if is_text else "application/json"
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
