# The steps of steps.mjs with PyPI mcp (version 2). With the argument "fastmcp": with PyPI fastmcp.
import asyncio
import http.cookiejar
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.shared.auth import OAuthClientMetadata

ISSUER, ENDPOINT = os.environ["INTEROP_ISSUER"], os.environ["INTEROP_MCP"]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


def browse(url):
    """Follows the redirects of an authorization request, with cookies. Returns the URL of the client."""
    redirect_uri = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["redirect_uri"]
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(jar, NoRedirect)
    for _ in range(20):
        try:
            response = opener.open(url)
        except urllib.error.HTTPError as error:
            response = error
        location = response.headers.get("location")
        if location is None:
            raise RuntimeError(f"{response.status} without a redirect: {response.read()[:500]}")
        url = urllib.parse.urljoin(url, location)
        if url.startswith(redirect_uri):
            return url
    raise RuntimeError("too many redirects")


def admin(path, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(f"{ISSUER}/__admin/{path}", method=method)) as response:
        return response.read()


def authorizations():
    requests = json.loads(admin("requests"))
    return [seen["query"] for seen in requests if seen["path"] == "/auth" and "client_id" in seen["query"]]


class Storage:
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Mcp:
    """PyPI mcp."""

    def __init__(self):
        self.storage = Storage()
        self.answer = None

    async def redirect(self, url):
        self.answer = await asyncio.to_thread(browse, url)

    async def callback(self):
        answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.answer).query))
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    def open(self):
        import httpx2
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        provider = OAuthClientProvider(
            server_url=ENDPOINT,
            client_metadata=OAuthClientMetadata(
                client_name="interop",
                redirect_uris=["http://127.0.0.1:9/callback"],
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
                token_endpoint_auth_method="none",
            ),
            storage=self.storage,
            redirect_handler=self.redirect,
            callback_handler=self.callback,
        )
        client = httpx2.AsyncClient(auth=provider, follow_redirects=True, timeout=30)
        return Client(streamable_http_client(ENDPOINT, http_client=client))


class FastMcp:
    """PyPI fastmcp, with its server for the callback, but without a window."""

    def __init__(self):
        from key_value.aio.stores.memory import MemoryStore

        self.store = MemoryStore()

    def open(self):
        from fastmcp import Client
        from fastmcp.client.auth import OAuth

        def visit(url):
            url = browse(url)
            for _ in range(100):
                try:
                    return urllib.request.urlopen(url).read()
                except urllib.error.URLError:
                    time.sleep(0.1)

        class Windowless(OAuth):
            async def redirect_handler(self, url):
                self.visit = asyncio.create_task(asyncio.to_thread(visit, url))

        return Client(ENDPOINT, auth=Windowless(ENDPOINT, token_storage=self.store))


def text_of(result):
    text = result.content[0].text
    if getattr(result, "is_error", False):
        raise RuntimeError(f"the tool failed: {text}")
    return text


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


async def main(name, new_session):
    failed = 0

    async def step(title, body):
        nonlocal failed
        try:
            detail = await asyncio.wait_for(body(), 60)
            print(f"STEP|{name}|{title}|ok|{detail or ''}", flush=True)
        except Exception as error:
            failed += 1
            print(f"STEP|{name}|{title}|FAILED|{type(error).__name__}: {error}".replace("\n", " "), flush=True)
            traceback.print_exc()

    before = len(authorizations())
    since = lambda: authorizations()[before:]
    session = new_session()

    async def first():
        async with session.open() as client:
            listed = await client.list_tools()
            tools = [tool.name for tool in getattr(listed, "tools", listed)]
        expect("write_document" in tools, f"the tools are {tools}")
        seen = since()[0]
        expect(seen.get("resource") == ENDPOINT, f"the resource is {seen.get('resource')}")
        expect("files:" not in seen["scope"], f"the first scope is {seen['scope']}")
        return f"scope {seen['scope']}"

    async def read():
        async with session.open() as client:
            text = text_of(await client.call_tool("read_document", {}))
        expect(text == "alice reads", f"the result is {text}")
        scope = since()[-1]["scope"]
        expect({"mcp", "files:read"} <= set(scope.split()), f"the scope is {scope}")
        return f"scope {scope}"

    async def rejected():
        seen = len(since())
        outcome = None
        try:
            async with session.open() as client:
                outcome = text_of(await client.call_tool("write_document", {}))
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            attempts = len(since()) - seen
            expect(attempts <= 3, f"{attempts} authorizations")
            return f"{attempts} authorization(s), then: {type(error).__name__}: {str(error)[:60]}"
        raise AssertionError(f"the result is {outcome}")

    async def expired():
        other = new_session()
        admin("ttl?seconds=2", "POST")
        async with other.open() as client:
            await client.list_tools()
        admin("ttl?seconds=3600", "POST")
        await asyncio.sleep(3.5)
        async with other.open() as client:
            expect(text_of(await client.call_tool("read_document", {})) == "alice reads", "another result")

    await step("discovery and first authorization", first)
    await step("step-up after insufficient_scope", read)
    await step("rejection of a tool whose scope is not granted", rejected)
    await step("another tool still works", read)
    await step("expired token", expired)
    return failed


if __name__ == "__main__":
    is_fastmcp = sys.argv[1:] == ["fastmcp"]
    code = asyncio.run(main("fastmcp", FastMcp) if is_fastmcp else main("mcp", Mcp))
    sys.exit(code)
