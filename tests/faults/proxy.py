"""A TCP relay between clients and one broker, which can be cut, stalled and mended like a network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK_BYTES = 65_536


class Proxy:
    """Relays connections to `port` on loopback to `target`, in a thread of its own.

    The broker behind it must advertise `port`, or clients go round it after their first request.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {port}", daemon=True)
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.WriteTransport] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break every connection and refuse new ones, as when a switch dies."""
        self._run(self._cut())

    def stall(self) -> None:
        """Carry nothing more in any connection, and take new ones, as when packets are dropped."""
        self._run(self._stall())

    def mend(self) -> None:
        """Carry everything again; what was held back by a stall goes on first."""
        self._run(self._mend())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in tuple(self._transports):
            transport.abort()

    async def _stall(self) -> None:
        self._flowing.clear()

    async def _mend(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the broker is down, and so is this connection
            writer.transport.abort()
            return
        both = {writer.transport, broker_writer.transport}
        self._transports |= both
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, broker_writer))
                pumps.create_task(self._pump(broker_reader, writer))
        finally:
            self._transports -= both
            for transport in both:
                transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry bytes one way until either end is closed, and then close the other."""
        with suppress(OSError):
            while data := await source.read(_CHUNK_BYTES):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
