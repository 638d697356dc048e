"""A stand-in for Kaggle on the loopback address, which speaks the official client's protocol.

Written after what the client (kaggle 2.2) sends and accepts: POSTs of JSON to
`/v1/<service>/<method>`, also behind `/api`.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

USER, KEY = "tester", "dummykey-4f1d0c"


class KaggleServer:
    """The server and what it was sent; use as a context manager."""

    def __init__(self):
        self.requests: list[tuple[str, dict]] = []  # method and body
        self.uploads: dict[str, bytes] = {}

    def __enter__(self) -> KaggleServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.kaggle = self
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

    def _StartSubmissionUpload(self, body):
        token = f"blob-{len(self.requests)}-{body['fileName']}"
        return {"token": token, "createUrl": f"{self.url}/upload/{token}"}

    def _CreateSubmission(self, body):
        assert body["blobFileTokens"] in self.uploads
        return {"message": "Successfully submitted", "ref": 4242}

    def _GetSubmission(self, body):
        return {"ref": body["ref"], "status": "COMPLETE", "publicScore": "0.98765"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        kaggle, name = self.server.kaggle, urlsplit(self.path).path.rsplit("/", 1)[-1]
        body = json.loads(self.content() or b"{}")
        kaggle.requests.append((name, body))
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if self.headers.get("Authorization") != basic:
            return self.send(401, {"code": 401, "message": "Unauthorized"})
        answer = getattr(kaggle, f"_{name}", lambda _: None)(body)
        missing = {"error": {"code": 404, "message": "Not found"}}
        return self.send(200 if answer else 404, answer or missing)

    def do_PUT(self):
        token = urlsplit(self.path).path.rsplit("/", 1)[-1]
        self.server.kaggle.uploads[token] = self.content()
        self.send(200, {})

    def send(self, status, answer):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")  # so that every request needs a connection
        self.end_headers()
        self.wfile.write(content)
