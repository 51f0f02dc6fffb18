"""Tell somebody that a run is over: by mail, a webhook, or a notification block of Prefect's. One
setting says how.

A failure to tell is a warning, never more: the run is worth more than the word of it. Addresses may
hold secrets, so warnings name hosts alone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import smtplib
import socket
import ssl
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from tiling.errors import InputError

SETTING = "LANDWEAVE_NOTIFY"
"""Who is told: `mailto:` an address or several between commas, the https address of a webhook, or
`block:` and the name of a notification block, such as `block:slack-webhook/team`."""

MAIL = "LANDWEAVE_SMTP"
"""The mail server: `smtps://user:password@host` or `smtp://host:587`; without it this machine's
own."""

TIMEOUT = 15.0
"""Seconds the other side has to answer."""


@dataclass(frozen=True)
class Note:
    """A message about a run: its flow, its state, what came of it and its page."""

    flow: str
    run: str
    state: str
    """Such as Completed or Failed."""
    message: str
    address: str = ""
    """Of the run's page."""

    @property
    def subject(self) -> str:
        return " ".join(f"{self.run or self.flow}: {self.state.lower()}".split())

    @property
    def text(self) -> str:
        return "\n\n".join(filter(None, (self.message, self.address)))


def notify(note: Note, to: str, mail: str = "") -> None:
    """Tell whoever is at `to`, by the server at `mail` where that is a mail address.

    Raises `InputError` where `to` or `mail` is no such address; whatever a connection raises is
    passed on.
    """
    kind, _, rest = to.partition(":")
    if kind == "mailto" and rest:
        send_mail(note, rest, mail or "smtp://localhost")
    elif kind == "block" and rest:
        send_to_block(note, rest)
    elif kind in ("http", "https"):
        post(note, to)
    else:
        raise InputError(
            f"{SETTING} is no mailto:, https: or block: address; write for example "
            "mailto:you@example.org"
        )


def notify_of(note: Note, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
    """Tell of a run as the environment says, if it does; where that fails, warn."""
    to = os.environ.get(SETTING, "").strip()
    if not to:
        return
    try:
        notify(note, to, os.environ.get(MAIL, "").strip())
    except InputError as mistake:
        logger.warning("Nobody was notified: %s", mistake)
    except Exception as error:  # whatever a mail server, a webhook or a block can do wrong
        logger.warning("Nobody was notified: %s does not take it (%s)", where(to), reason(error))


def where(to: str) -> str:
    """Where a message goes, without what may be a secret."""
    kind, _, rest = to.partition(":")
    return (
        f"the webhook at {urlsplit(to).hostname}" if kind in ("http", "https") else f"{kind}:{rest}"
    )


def reason(error: Exception) -> str:
    """What went wrong, without what may be a secret: texts of such errors hold whole addresses."""
    response = getattr(error, "response", None)
    code = getattr(response, "status_code", None) or getattr(error, "smtp_code", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__


def post(note: Note, address: str) -> None:
    """Send a note as JSON; `text` is what Slack, Teams and Mattermost show."""
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole addresses
    facts = {"text": f"{note.subject}\n{note.text}", **asdict(note)}
    httpx.post(address, json=facts, timeout=TIMEOUT).raise_for_status()


def send_mail(note: Note, recipients: str, server: str) -> None:
    """Send a note as a mail. A password goes over an encrypted connection, or to this machine."""
    at = urlsplit(server)
    if at.scheme not in ("smtp", "smtps") or not at.hostname:
        raise InputError(
            f"{MAIL} is no smtp:// or smtps:// address; write for example "
            "smtps://user:password@host"
        )
    user, password = unquote(at.username or ""), unquote(at.password or "")
    mail = EmailMessage()
    mail["Subject"], mail["To"] = note.subject, unquote(recipients)
    mail["From"] = user if "@" in user else f"landweave@{socket.getfqdn()}"
    mail.set_content(note.text)
    secure = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(at.hostname, at.port or 465, timeout=TIMEOUT, context=secure)
        if at.scheme == "smtps"
        else smtplib.SMTP(at.hostname, at.port or 25, timeout=TIMEOUT)
    ) as connection:
        connection.ehlo_or_helo_if_needed()
        encrypted = at.scheme == "smtps"
        if not encrypted and connection.has_extn("starttls"):
            connection.starttls(context=secure)
            encrypted = True
        if user:
            if not encrypted and at.hostname not in ("localhost", "127.0.0.1", "::1"):
                raise InputError(
                    f"{at.hostname} offers no encryption, and the password stays here; write "
                    "smtps://"
                )
            connection.login(user, password)
        connection.send_message(mail)


def send_to_block(note: Note, name: str) -> None:
    """Have a notification block of Prefect's send a note."""
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    block = Block.load(name)
    if not isinstance(block, NotificationBlock):
        raise InputError(
            f"{name} is no notification block; make one under Blocks in Prefect's pages"
        )
    with block.raise_on_failure():
        sent: object = block.notify(note.text, note.subject)
        if inspect.isawaitable(sent):  # blocks of packages may not have Prefect's way of being both
            asyncio.run(_awaited(sent))


async def _awaited(sent: Awaitable[object]) -> None:
    await sent
