"""Reads prompts from LangFuse by its own SDK, which is loaded when the first one is asked for.

Only the SDK's client of the API is used: it is asynchronous, and keeps neither threads nor a cache, nor does it change
how this process is traced. What LangFuse answers with an error is not passed on: it may quote what it was sent.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from libs.domain.agents import PromptReference
from libs.domain.errors import DependencyUnavailable
from libs.settings.traces import NO_PROJECT, Destination, Destinations, ProjectsSettings, load_destinations

SECONDS = 5.0  # for a prompt, from start to end
RETRY_SECONDS = 5
PRODUCTION = "production"


class PromptUnusable(Exception):
    """There is no such prompt, or it cannot be instructions; the message says why and what to do."""


class Prompt(NamedTuple):
    """A prompt as it was when it was read."""

    name: str
    version: int
    text: str


class Prompts:
    """The prompts of each tenant's project."""

    def __init__(
        self,
        destinations: Destinations,
        ca_file: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._destinations = destinations
        self._ca_file = ca_file
        self._transport = transport
        self._seconds = seconds
        self._clients: dict[str, tuple[Any, httpx.AsyncClient]] = {}

    @classmethod
    def open(cls, settings: ProjectsSettings) -> Prompts | None:
        """None where no project is configured."""
        destinations = load_destinations(settings)
        return None if destinations is None else cls(destinations, settings.traces_ca_file)

    async def read(self, tenant: str, wanted: PromptReference) -> Prompt:
        """The text that a prompt has now.

        Raises:
            PromptUnusable: the tenant has no LangFuse, or this prompt cannot be used.
            DependencyUnavailable: LangFuse does not answer in time, or not as it should.
        """
        destination = self._destinations.projects.get(self._destinations.project_of(tenant))
        if destination is None or destination.name == NO_PROJECT or destination.project.kind != "langfuse":
            raise PromptUnusable("Your tenant has no LangFuse project: ask the administrator of the platform for one.")
        label = None if wanted.version is not None else wanted.label or PRODUCTION
        try:
            async with asyncio.timeout(self._seconds):
                client = await self._client(destination)
                found = await client.prompts.get(
                    quote(wanted.prompt, safe=""),
                    version=wanted.version,
                    label=label,
                    request_options={"max_retries": 0, "timeout_in_seconds": self._seconds},
                )
        except (TimeoutError, httpx.HTTPError) as error:
            raise _away(f"LangFuse does not answer ({type(error).__name__}).") from None
        except ValueError:  # of JSON, or of a prompt's shape
            raise _away("LangFuse answers what is no prompt.") from None
        except Exception as error:
            raise _refused(error, wanted, label) from None
        return self._usable(found, wanted)

    async def _client(self, destination: Destination) -> Any:
        if destination.name not in self._clients:
            api: Any = await asyncio.to_thread(importlib.import_module, "langfuse.api")
            https = destination.project.url.startswith("https")
            verify = ssl.create_default_context(cafile=self._ca_file) if https else False
            http = httpx.AsyncClient(timeout=self._seconds, verify=verify, transport=self._transport, trust_env=False)
            authorization = {"Authorization": destination.headers["Authorization"]}
            made = api.AsyncLangfuseAPI(base_url=destination.project.url, headers=authorization, httpx_client=http)
            if self._clients.setdefault(destination.name, (made, http))[1] is not http:  # another was faster
                await http.aclose()
        return self._clients[destination.name][0]

    def _usable(self, found: Any, wanted: PromptReference) -> Prompt:
        name = wanted.prompt
        if found.type != "text":
            raise PromptUnusable(f"The prompt {name} is a chat prompt. Instructions take a text prompt.")
        parser: Any = importlib.import_module("langfuse.model").TemplateParser
        if variables := dict.fromkeys(parser.find_variable_names(found.prompt)):
            named = ", ".join(variables)
            raise PromptUnusable(
                f"The prompt {name} has variables ({named}), which nothing fills in here: make a prompt without them."
            )
        return Prompt(found.name, found.version, found.prompt)

    async def close(self) -> None:
        for _, http in self._clients.values():
            await http.aclose()


def _refused(error: Exception, wanted: PromptReference, label: str | None) -> Exception:
    """What an error of the SDK means; its own text quotes the answer."""
    status = getattr(error, "status_code", None)
    if status is None:
        return error
    if status == 404:
        which = f"version {wanted.version}" if wanted.version is not None else f"version labelled {label}"
        return PromptUnusable(f"There is no prompt {wanted.prompt} with a {which} in LangFuse.")
    if status in (401, 403):
        return _away("LangFuse does not accept the keys of the project: tell the administrator of the platform.")
    if status < 400:
        return _away("LangFuse answers what is no prompt.")
    if status < 500 and status not in (408, 429):
        return PromptUnusable(f"LangFuse does not accept the name, label or version of the prompt ({status}).")
    return _away(f"LangFuse answered {status}.")


def _away(detail: str) -> DependencyUnavailable:
    return DependencyUnavailable("langfuse", detail, RETRY_SECONDS)
