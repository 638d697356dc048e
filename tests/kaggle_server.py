"""A stand-in for Kaggle on the loopback address: it speaks the clients' protocol, faults on order.

Written after what the clients (kaggle 2.2, kagglehub 1.0) send and accept: POSTs of JSON to
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
    body: object = ""
    headers: dict = field(default_factory=dict)
    drop: bool = False
    after_work: bool = False  # the request takes effect, only its answer goes wrong


@dataclass
class Request:
    name: str  # the method, or PUT, or GET
    body: dict
    headers: dict


class KaggleServer:
    """The server and its state; use as a context manager."""

    def __init__(self):
        self.requests: list[Request] = []  # that have arrived, in order
        # wrong answers to come, by name of the method (PUT and GET for the file store)
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.cuts: list[int | None] = []  # of each GET to come: bytes after which it breaks off
        self.data = b""  # the zip that the contest offers
        self.has_facts = True  # the store tells length and checksum of the zip
        # answers to GetSubmission, the last one for ever
        self.states: list[dict] = [{"status": "COMPLETE", "publicScore": "0.98765"}]
        self.submissions: list[dict] = []
        self.uploads: dict[str, bytes] = {}
        self.datasets: dict[str, dict] = {}
        self.kernel_answer: dict = {}
        self.gpu_quota: dict | None = {"timeUsed": "7200s", "totalTimeAllowed": "108000s"}

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

    def names(self) -> list[str]:
        return [request.name for request in self.requests]

    def bodies(self, name: str) -> list[dict]:
        return [request.body for request in self.requests if request.name == name]

    def ranges(self) -> list[str]:
        return [r.headers["Range"] for r in self.requests if "Range" in r.headers]

    def answer(self, name: str, body: dict) -> dict | Fault:
        """Answer one method of the API."""
        method = getattr(self, f"_{name}", None)
        return method(body) if method else Fault(404, {"code": 404, "message": f"no {name}"})

    def _IntrospectToken(self, body):
        return {"active": body.get("token") == TOKEN, "username": USER}

    def _GetSubmissionLimits(self, body):
        return {"numToday": 1, "numTotal": 3, "numAllowedNow": 4}

    def _DownloadDataFiles(self, body):
        place = f"{self.url}/data/{body['competitionName']}.zip?X-Signature=sign3d"
        return Fault(302, "", {"Location": place})

    def _AttachDatasourceUsingJwtRequest(self, body):
        slug = body["competitionRef"]["CompetitionSlug"]
        return {"wasSuccessful": True, "result": {"mountSlug": f"competitions/{slug}"}}

    def _StartSubmissionUpload(self, body):
        return self._start_upload(body["fileName"])

    def _StartBlobUpload(self, body):
        return self._start_upload(body["name"])

    def _start_upload(self, name):
        token = f"blob-{len(self.requests)}-{name}"
        return {"token": token, "createUrl": f"{self.url}/upload/{token}?X-Signature=sign3d"}

    def _CreateSubmission(self, body):
        token, ref = body["blobFileTokens"], 4242 + len(self.submissions)
        if token not in self.uploads:
            return Fault(400, {"code": 400, "message": "no such upload"})
        self.submissions.append({"ref": ref, "fileName": token.split("-", 2)[2]})
        return {"message": "Successfully submitted", "ref": ref}

    def _GetSubmission(self, body):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"ref": body["ref"], **state}

    def _GetDatasetStatus(self, body):
        if f"{body['ownerSlug']}/{body['datasetSlug']}" in self.datasets:
            return {"status": "READY"}
        return Fault(404, {"error": {"code": 404, "message": "Not found"}})

    def _CreateDataset(self, body):
        self.datasets[f"{body['ownerSlug']}/{body['slug']}"] = body
        return {"status": "ok", "url": "https://www.kaggle.com/datasets/x"}

    def _CreateDatasetVersion(self, body):
        return {"status": "ok"}

    def _GetAcceleratorQuotaStatistics(self, body):
        if self.gpu_quota is None:
            return Fault(404, {"code": 404, "message": "Not found"})
        return {"quotaRefreshTime": "2026-12-05T00:00:00Z", "gpuQuota": self.gpu_quota}

    def _SaveKernel(self, body):
        url = f"https://www.kaggle.com/code/{body['slug']}"
        return {"ref": body["slug"], "url": url, "versionNumber": 1, **self.kernel_answer}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def begin(self, name: str, body: dict) -> Fault | None:
        """Note a request, and return the fault that is due."""
        kaggle = self.server.kaggle
        kaggle.requests.append(Request(name, body, dict(self.headers)))
        return kaggle.faults[name].pop(0) if kaggle.faults[name] else None

    def content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        path = urlsplit(self.path).path.removeprefix("/api")
        name, body = path.rsplit("/", 1)[-1], json.loads(self.content() or b"{}")
        fault = self.begin(name, body)
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        known = self.headers.get("Authorization") in (basic, f"Bearer {TOKEN}")
        if not known and name not in ("IntrospectToken", "AttachDatasourceUsingJwtRequest"):
            fault = Fault(401, {"code": 401, "message": "Unauthorized"})
        if fault and not fault.after_work:
            return self.fail(fault)
        answer = self.server.kaggle.answer(name, body)
        if fault or isinstance(answer, Fault):
            return self.fail(fault or answer)
        return self.send(200, answer)

    def do_PUT(self):
        content = self.content()
        if fault := self.begin("PUT", {}):
            return self.fail(fault)
        if "Authorization" in self.headers:
            return self.send(400, {"message": "signed addresses take no credentials"})
        self.server.kaggle.uploads[urlsplit(self.path).path.rsplit("/", 1)[-1]] = content
        return self.send(200, "")

    def do_GET(self):
        kaggle = self.server.kaggle
        if fault := self.begin("GET", {}):
            return self.fail(fault)
        cut = kaggle.cuts.pop(0) if kaggle.cuts else None
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("Accept-Ranges", "bytes")
        if kaggle.has_facts:
            digest = base64.b64encode(hashlib.md5(kaggle.data).digest()).decode()
            self.send_header("x-goog-hash", f"crc32c=AAAA,md5={digest}")
            self.send_header("Content-Length", str(len(kaggle.data) - start))
        self.close_connection = True
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(kaggle.data[start:] if cut is None else kaggle.data[start : start + cut])

    def fail(self, fault):
        if fault.drop:
            self.close_connection = True
            return
        body = fault.body(self.headers) if callable(fault.body) else fault.body
        self.send(fault.status, body, fault.headers)

    def send(self, status, body, headers=()):
        is_text = isinstance(body, str)
        content = body.encode() if is_text else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": "text/plain" if is_text else "application/json", **dict(headers)}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
