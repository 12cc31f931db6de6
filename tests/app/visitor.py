"""A browser's part of the talk with the web page, over HTTP: one cookie, uploads, calls that wait in the queue."""

import json
import secrets
from pathlib import Path
from typing import Any

import httpx


class Visitor:
    """One visitor.

    Args:
        url: address of the page.
    """

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=120)
        self.client.get("/")  # for the cookie
        self.calls = {call["api_name"]: call["id"] for call in self.client.get("/config").json()["dependencies"]}
        self.session = secrets.token_hex(8)

    def upload(self, **contents: bytes) -> list[str]:
        """Send files, name=content with __ for the dot; returns their paths on the server."""
        files = [("files", (name.replace("__", "."), content)) for name, content in contents.items()]
        answer = self.client.post("/gradio_api/upload", files=files)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(self, name: str, *data: Any) -> list[Any]:
        """Call a handler and wait for its answer.

        Raises:
            RuntimeError: it failed.
        """
        wanted = {"data": data, "fn_index": self.calls[name], "session_hash": self.session}
        event = self.client.post("/gradio_api/queue/join", json=wanted).json()["event_id"]
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") == event and message["msg"] == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(str(message["output"]))
                    return message["output"]["data"]
        raise RuntimeError("the stream ended without an answer")

    def fuse(self, paths: list[str], task: str = "find", align: bool = False, model: str = "Average",
             strokes: str = "", softness: float = 0) -> dict[str, Any]:
        """Fuse uploaded files; what the page gets, by name."""
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        answer = self.call("fuse", files, task, align, model, strokes, softness)
        names = ("status", "slider", "choice", "shown", "parts", "download", "painter", "scores")
        return dict(zip(names, answer))

    def get(self, path: str | Path) -> httpx.Response:
        """Ask for a file of the server."""
        return self.client.get(f"/gradio_api/file={path}")

    def download(self, answer: dict[str, Any]) -> bytes:
        """The content of the download button."""
        response = self.get(answer["download"]["value"]["path"])
        assert response.status_code == 200, response.text
        return response.content
