"""A metadata service for tests: it speaks as AWS's, Google Cloud's and Azure's do, and tests write its pages."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from tests.runtime.harness import PATIENCE_SECONDS


@dataclass
class Clouds:
    """A metadata service: of whichever cloud is asked, with pages that tests write."""

    pages: dict[str, str | int] = field(default_factory=dict)
    """Text by path, or an HTTP status. Others are not found."""
    looks: asyncio.Condition = field(default_factory=asyncio.Condition)
    asked: list[str] = field(default_factory=list)
    machine: str = "vm-1"
    slowness: float = 0.0
    """Seconds that each answer takes."""
    token: int = 0
    """The one that is valid; a new one for each that is asked for."""
    runner: web.AppRunner | None = None
    port: int = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        async with self.looks:
            self.asked.append(request.path)
            self.looks.notify_all()
        await asyncio.sleep(self.slowness)
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        if request.path == "/latest/api/token":
            self.token += 1
            return web.Response(text=str(self.token))
        if request.path == "/metadata/instance/compute/name":
            return web.Response(text=self.machine)
        page = self.pages.get(request.path, 404)
        if page == 302:
            raise web.HTTPFound(f"http://127.0.0.1:{self.port}/latest/meta-data/spot/instance-action")
        return web.Response(status=page) if isinstance(page, int) else web.Response(text=page)

    def refuse(self, request: web.Request) -> web.Response | None:
        """Do as each cloud does to requests without what it asks for."""
        headers = request.headers
        match request.path.split("/")[1]:
            case "latest" if request.path == "/latest/api/token":
                good = request.method == "PUT" and headers.get("X-aws-ec2-metadata-token-ttl-seconds") == "21600"
                return None if good else web.Response(status=400)
            case "latest":
                return None if headers.get("X-aws-ec2-metadata-token") == str(self.token) else web.Response(status=401)
            case "computeMetadata":
                return None if headers.get("Metadata-Flavor") == "Google" else web.Response(status=403)
            case _:
                good = headers.get("Metadata") == "true" and "api-version" in request.query
                return None if good else web.Response(status=400)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.serve)
        self.runner = web.AppRunner(app, shutdown_timeout=1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def looked(self, path: str, times: int = 2) -> None:
        """Wait until `path` has been asked for so often from now on."""
        before = self.asked.count(path)
        async with asyncio.timeout(PATIENCE_SECONDS), self.looks:
            await self.looks.wait_for(lambda: self.asked.count(path) >= before + times)
