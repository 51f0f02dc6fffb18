"""Somebody is told that a run is over: by mail, webhook or block; and where that fails, no secret
is in the warning."""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect import State
from prefect.exceptions import Pause

from flows.tasks import notify
from flows.tasks import runs as tasks
from flows.tasks.bar import Bar
from flows.tasks.notify import MAIL, SETTING, Note, notify_of
from flows.tasks.runs import Outcome, end_run
from tiling.errors import InputError

NOTE = Note(
    "land-use-monitor",
    "monitor · valley",
    "Completed",
    "+1 scene, 40 ha changed",
    "http://127.0.0.1/runs/1",
)

SECRET = "s3cr3t"


class Hook(BaseHTTPRequestHandler):
    """A webhook that keeps what it is told, and refuses where its path says so."""

    heard: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(403 if "refused" in self.path else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


class Mailbox(socketserver.StreamRequestHandler):
    """A mail server of a few words that keeps what it is sent."""

    heard: list[str]

    def handle(self) -> None:
        def say(line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            self.heard.append(line)
            if word.startswith("EHLO"):
                say("250-here\r\n250 AUTH PLAIN")
            elif word.startswith("AUTH"):
                say("235 yes")
            elif word == "DATA":
                say("354 go on")
                while (line := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    self.heard.append(line)
                say("250 kept")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 yes")


@contextmanager
def listening(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    heard: list[dict[str, Any]] = []
    handler = type("Here", (Hook,), {"heard": heard})
    with listening(HTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}/{SECRET}", heard


@pytest.fixture
def mailbox() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []
    handler = type("Here", (Mailbox,), {"heard": heard})
    with listening(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) as port:
        yield f"127.0.0.1:{port}", heard


def test_a_webhook_gets_a_text_that_chats_show_and_the_facts(
    hook: tuple[str, list[dict[str, Any]]],
) -> None:
    notify.notify(NOTE, hook[0])
    assert hook[1] == [
        {
            "text": "monitor · valley: completed\n+1 scene, 40 ha "
            "changed\n\nhttp://127.0.0.1/runs/1",
            "flow": "land-use-monitor",
            "run": "monitor · valley",
            "state": "Completed",
            "message": "+1 scene, 40 ha changed",
            "address": "http://127.0.0.1/runs/1",
        }
    ]


def test_a_mail_has_the_run_in_its_subject_and_the_password_logs_in(
    mailbox: tuple[str, list[str]],
) -> None:
    notify.notify(
        NOTE,
        "mailto:one@example.org,two@example.org",
        f"smtp://me%40example.org:{SECRET}@{mailbox[0]}",
    )
    said = mailbox[1]
    assert {"rcpt TO:<one@example.org>", "rcpt TO:<two@example.org>"} <= set(said)
    assert any(line.startswith("AUTH PLAIN") for line in said)
    assert "From: me@example.org" in said
    assert "http://127.0.0.1/runs/1" in said
    assert any(line.startswith("Subject: ") for line in said)


def test_a_subject_is_one_line() -> None:
    assert Note("demo", "a\nBcc: b", "Failed", "").subject == "a Bcc: b: failed"


def test_a_password_goes_over_no_plain_connection_to_another_machine(
    mailbox: tuple[str, list[str]],
) -> None:
    port = mailbox[0].rpartition(":")[2]
    with pytest.raises(InputError, match="the password stays here"):
        notify.notify(NOTE, "mailto:one@example.org", f"smtp://me:{SECRET}@127.1:{port}")
    assert not any("AUTH" in line for line in mailbox[1])


@pytest.mark.parametrize("setting", ["ftp://here", "you@example.org", "mailto"])
def test_an_address_that_is_none_is_told_with_what_to_write(setting: str) -> None:
    with pytest.raises(InputError, match=r"write for example mailto:you@example\.org"):
        notify.notify(NOTE, setting)


@pytest.mark.parametrize("way", ["refused", "away", "mail", "odd"])
def test_a_failure_to_tell_is_one_warning_without_a_secret(
    way: str,
    hook: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    to = {
        "refused": f"{hook[0]}/refused",
        "away": f"http://127.0.0.1:1/{SECRET}",
        "mail": "mailto:you@example.org",
        "odd": f"ftp://me:{SECRET}@here",
    }[way]
    monkeypatch.setenv(SETTING, to)
    monkeypatch.setenv(MAIL, f"smtp://me:{SECRET}@127.0.0.1:1")
    notify_of(NOTE, logging.getLogger("landweave"))
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage().startswith("Nobody was notified: ")
    assert SECRET not in caplog.text
    assert not warning.exc_info


def test_nobody_is_told_without_the_setting_and_without_news(
    hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    notify_of(NOTE, logging.getLogger("landweave"))
    assert hook[1] == []
    monkeypatch.setenv(SETTING, hook[0])
    notify_of(NOTE, logging.getLogger("landweave"))
    assert len(hook[1]) == 1


@pytest.mark.parametrize(("news", "times"), [(True, 1), (False, 0)])
def test_a_run_without_news_is_silent(
    news: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks, "tell", lambda *note: heard.append(note))
    state = end_run(
        Bar("progress-x"), "x", lambda: tasks.as_flow_state(lambda: Outcome("2 scenes", news=news))
    )
    assert state.message == "2 scenes"
    assert heard == [("x", "Completed", "2 scenes")] * times


def test_a_failure_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Outcome:
        raise InputError("no-such.tif does not exist; check the path")

    heard: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks, "tell", lambda *note: heard.append(note))
    end_run(Bar("progress-x"), "x", lambda: tasks.as_flow_state(fails))
    assert heard == [("x", "Failed", "no-such.tif does not exist; check the path")]


def test_a_fault_is_told_without_secrets_and_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> tuple[State[Any], bool]:
        raise RuntimeError("https://store.example/a.tif?sig=5ecre7 broke")

    heard: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks, "tell", lambda *note: heard.append(note))
    with pytest.raises(RuntimeError):
        end_run(Bar("progress-x"), "x", breaks)
    assert heard == [("x", "Failed", "RuntimeError: https://store.example/a.tif?sig=… broke")]


@pytest.mark.parametrize("signal", [Pause("the run waits for somebody"), KeyboardInterrupt()])
def test_a_signal_is_no_failure(signal: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is suspended goes on later; nobody is told that it failed."""

    def stops() -> tuple[State[Any], bool]:
        raise signal

    heard: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks, "tell", lambda *note: heard.append(note))
    with pytest.raises(type(signal)):
        end_run(Bar("progress-x"), "x", stops)
    assert heard == []
