"""A renewed certificate: given to HAProxy while it runs, connections that are open go on."""

import asyncio
import logging
from pathlib import Path

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.secret import POLL_SECONDS, MountedSecret


CERTIFICATE = "tls.crt"
"""Entry of the Secret, and the file that HAProxy's configuration names."""
KEY = "tls.key"
_DONE = "Success!"

log = logging.getLogger("gptoss_runtime.activator")


class CertificateRefused(Exception):
    """HAProxy could not read a certificate, or its key; the message has its words."""


class Certificate:
    """The certificate in the mounted Secret, and in HAProxy."""

    def __init__(self, directory: Path, runtime: RuntimeApi) -> None:
        self._file = directory / CERTIFICATE
        self._secret = MountedSecret(directory)
        self._runtime = runtime
        self._taken: bytes | None = None
        self._complaint = ""

    async def keep(self) -> None:
        """Let HAProxy have each new certificate, until cancelled. What it does not take is tried again."""
        wanted: bytes | None = None
        while True:
            if self._secret.changed():
                wanted = self._read()
            if wanted is not None and wanted != self._taken:
                await self._give(wanted)
            await asyncio.sleep(POLL_SECONDS)

    def _read(self) -> bytes | None:
        entries = self._secret.read()
        if CERTIFICATE in entries and KEY in entries:
            return entries[CERTIFICATE] + b"\n" + entries[KEY]
        self._complain(f"the Secret lacks {CERTIFICATE} or {KEY}")
        return None

    async def _give(self, pem: bytes) -> None:
        try:
            await self._replace(pem)
        except CertificateRefused as error:
            self._complain(str(error))
            return
        except RuntimeApiError as error:
            # Before HAProxy's first start there is nothing to tell.
            if self._taken is not None:
                self._complain(str(error))
            return
        if self._taken is not None:
            log.info("HAProxy serves the new certificate of %s", self._file.parent)
        # The first is what HAProxy read when it started, unless this activator was started later.
        self._taken = pem
        self._complaint = ""

    async def _replace(self, pem: bytes) -> None:
        """Give HAProxy a certificate with its key.

        Raises CertificateRefused or RuntimeApiError, and then it keeps the one that it has.
        """
        # An empty line would end the payload early.
        lines = [line.strip() for line in pem.decode(errors="replace").splitlines() if line.strip()]
        answer = await self._runtime.ask(f"set ssl cert {self._file} <<\n" + "\n".join(lines) + "\n")
        if "Transaction created" not in answer and "Transaction updated" not in answer:
            raise CertificateRefused(f"it said: {answer.strip()}")
        answer = await self._runtime.ask(f"commit ssl cert {self._file}")
        if _DONE not in answer:
            await self._runtime.ask(f"abort ssl cert {self._file}")
            raise CertificateRefused(f"it said: {answer.strip()}")

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            log.warning(
                "HAProxy keeps its old certificate: %s. See that the Secret has a certificate, the whole chain of its"
                " issuers, and the key that belongs to it, in less than 16 KB",
                why,
            )
        self._complaint = why
